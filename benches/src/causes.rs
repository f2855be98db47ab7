//! Why a row falls short of its target: what was found, by hand, each time that one did.

/// What is compared, with whom, and why it falls short: a sentence for the report.
type Cause = (&'static str, &'static str, &'static str);

/// Where a row is met, its cause is not shown; it is removed when the row has been met for good.
const CAUSES: [Cause; 4] = [
    ("start, existing pod, own share", "runc", EXEC),
    ("ΣPSS per idle container at 50", "peer", PROCESSES),
    ("HTTP requests, fresh instances", "wasmtime serve", AS_IT_COMES),
    ("HTTP requests, fresh instances", "wasmtime serve, tuned", SCAN),
];

const EXEC: &str = "each container is a process of its own, and of what is ours about a third passes from when the runner is spawned until it runs: \
     its execution, and the linking of its libraries.";

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
