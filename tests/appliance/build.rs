//! How the program is linked.

#[path = "../../examples/start/link.rs"]
mod link;

fn main() {
    link::bins();
}
