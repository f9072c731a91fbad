//! How the programs are linked.

#[path = "../../examples/start/link.rs"]
mod link;

fn main() {
    link::bins();
}
