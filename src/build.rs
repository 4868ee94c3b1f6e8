//! How the binary is linked, not a module of the crate.

#[allow(clippy::disallowed_methods, reason = "cargo tells about the target in the environment")]
fn main() {
    println!("cargo::rerun-if-changed=src/build.rs");
    // The engine's tables of functions hold 265,000 addresses. In a program that may be loaded
    // anywhere each start computes them anew, in a thousand pages of memory.
    let target = |key: &str| std::env::var(format!("CARGO_CFG_TARGET_{key}")).unwrap_or_default();
    if target("OS") == "linux" && target("ENV") == "gnu" {
        println!("cargo::rustc-link-arg-bins=-no-pie");
    }
}
