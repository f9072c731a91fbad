//! How the program is linked.

#[path = "../start/link.rs"]
mod link;

fn main() {
    println!("cargo::rerun-if-env-changed=GRACENET_HTTPD_TAG");
    link::bins();
}
