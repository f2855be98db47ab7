//! The table of docs/src/frontends.md: a cell names a test that there is, or says why there is none.

use std::collections::BTreeSet;

use crate::support::suite::repository;

/// What a cell may be besides tests' names: a dash, and the number of a note below the table.
const NOTE: &str = "—";

/// Panics at the first cell that is neither.
pub fn check() {
    let page = std::fs::read_to_string(repository().join("docs/src/frontends.md")).unwrap();
    let known: BTreeSet<String> =
        crate::every().iter().map(|trial| trial.name().to_owned()).collect();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'))
        .map(|row| row.split('|').map(str::trim).collect())
        .collect();
    assert!(rows.len() > 10, "a heading, a line, and the features");
    let mut named = 0;
    for row in &rows[2..] {
        assert_eq!(row.len(), rows[0].len(), "{row:?}");
        for cell in &row[1..] {
            let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
            for test in &tests {
                assert!(known.contains(*test), "{}: there is no test {test}", row[0]);
            }
            named += tests.len();
            let reason = cell.strip_prefix(NOTE).is_some_and(|reason| !reason.trim().is_empty());
            assert!(!tests.is_empty() || reason, "{}: {cell:?} is neither test nor reason", row[0]);
        }
    }
    assert!(named > 20, "only {named} tests are named");
}
