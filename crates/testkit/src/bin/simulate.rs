//! Runs the simulator over many seeds and prints a table.
fn main() {}
