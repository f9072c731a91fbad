//! How the program is linked.

#[path = "../start/link.rs"]
mod link;

fn main() {
    link::bins();
}
