//! Why a row falls short of its target: what was found, by hand, each time that one did.

/// What is compared, with whom, and why it falls short: a sentence for the report.
type Cause = (&'static str, &'static str, &'static str);

/// Where a row is met, its cause is not shown; it is removed when the row has been met for good.
const CAUSES: [Cause; 5] = [
    ("starts per second", "noop", CYCLE),
    ("start, existing pod, own share", "runc", EXEC),
    ("ΣPSS per idle container at 50", "peer", PROCESSES),
    ("HTTP requests, fresh instances", "wasmtime serve", AS_IT_COMES),
    ("HTTP requests, fresh instances", "wasmtime serve, tuned", SCAN),
];

const EXEC: &str = "each container is a process of its own, in a control group, namespaces and mounts of its own: its group is made before it, and the \
     rest by it. On virtual machines 0.6 ms of each execution are the C library's 30 questions to the processor (CPUID), which the hypervisor answers.";

const CYCLE: &str = "of 25 ms of processor time for a container, where the floor takes 10.5, 4 are the runner's, 4 the shim's work for it, 2 more the shim's \
     own, which has more to do than the floor's, 2 the kernel's for namespaces, groups and mounts that end, and 2 containerd's: it is told of four \
     events, of which the floor's shim sends none.";

const AS_IT_COMES: &str = "four times as many requests would leave each half the processor time that even the tuned server needs, which finds what \
     a request wrote by PAGEMAP_SCAN; ours gives all of a request's pages back instead, and has those that the next one touches made anew.";

const SCAN: &str = "it finds what a request wrote by PAGEMAP_SCAN, which ours leaves off: the engine resets those pages only that are present, and \
     the kernel says of a page that it is just moving that it is not, so that the next request could see it.";

const PROCESSES: &str = "185 KB of 700 are the runner's tables of pointers, which are written as it is loaded at an address of its own: a guest that \
     breaks out is to search for it. The rest is two processes: heaps of 75 and 100 KB, 70 of stacks, 70 of data, and 180 their share of the programs.";

/// Why the row does not hold, if that was found.
pub fn of(what: &str, reference: &str) -> Option<&'static str> {
    let is_it = |cause: &&Cause| (cause.0, cause.1) == (what, reference);
    CAUSES.iter().find(is_it).map(|cause| cause.2)
}
