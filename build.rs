//! Hands the linker the order of functions in a release build; see scripts/order.

fn main() {
    const ORDER: &str = "scripts/link/start.ld";
    println!("cargo:rerun-if-changed={ORDER}");
    println!("cargo:rerun-if-changed=build.rs");
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/{ORDER}");
    }
}
