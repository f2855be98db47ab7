//! Why a row falls short of its target: what was found, by hand, each time that one did.

/// What is compared, with whom, and why it falls short: a sentence for the report.
type Cause = (&'static str, &'static str, &'static str);

/// Where a row is met, its cause is not shown; it is removed when the row has been met for good.
const CAUSES: [Cause; 8] = [
    ("starts per second", "noop", CYCLE),
    ("start, existing pod, own share", "runc", EXEC),
    ("start of a 26 MB module, own share (its own work included)", "ours, 20 KB", LARGE),
    ("ΣPSS per idle container at 50", "peer", PROCESSES),
    ("first start, own share", "compile + run", COMPILER),
    ("HTTP requests, reused instances", "wasmtime serve, tuned, reusing", LOAD),
    ("HTTP requests, reused instances", "hyper", GUEST),
    ("HTTP, p99 at 70 % of the peak", "wasmtime serve, tuned", LATE),
];

const EXEC: &str = "each container is a process of its own, in a control group, namespaces and mounts of its own: its group is made before it, and the \
     rest by it. On virtual machines 0.6 ms of each execution are the C library's 30 questions to the processor (CPUID), which the hypervisor answers.";

const CYCLE: &str = "of 25 ms of processor time for a container, where the floor takes 10.5, 4 are the runner's, 4 the shim's work for it, 2 more the shim's \
     own, which has more to do than the floor's, 2 the kernel's for namespaces, groups and mounts that end, and 2 containerd's: it is told of four \
     events, of which the floor's shim sends none. (Counted before the end of a container was made shorter, which took a quarter of what was above \
     the floor.)";

const PROCESSES: &str = "230 KB of 770 are the runner's tables of pointers, which are written as it is loaded at an address of its own: a guest that \
     breaks out is to search for it. The rest is two processes: heaps of 75 and 100 KB, 70 of stacks, 70 of data, and 200 their share of the programs.";

const LARGE: &str = "to map and check its code takes 0.45 ms more (`make pieces PIECE=load`), and Python itself some before it says anything; nothing \
     is read or copied. The less the rest takes, the more that is.";

const LATE: &str = "a few milliseconds are a turn of the scheduler's, when the load and the server want the same two processors: the native server has \
     them, too. Which of the servers they meet most differs from run to run.";

const COMPILER: &str = "the compiler is another process than the runner, which waits for it, and compiles as long as the bare one; to be executed it takes \
     a millisecond more, as it is the whole of `lighter`, and it is limited, and what it makes is hashed and written to the disk before anybody runs it.";

const LOAD: &str = "the load comes from the same two processors, and of 28 µs for a request 10 are its own: by processor time of the server alone, which is \
     a row of its own, the target is met.";

const GUEST: &str = "a guest's request is a call into it and a dozen calls out of it, of the engine's `wasi:http`, each with values that are allocated, \
     looked up and dropped: 54 allocations, where the native server has 2. A third of the time is the kernel's, which both have.";

/// Why the row does not hold, if that was found.
pub fn of(what: &str, reference: &str) -> Option<&'static str> {
    let is_it = |cause: &&Cause| (cause.0, cause.1) == (what, reference);
    CAUSES.iter().find(is_it).map(|cause| cause.2)
}
