//! Hands the linker the order of functions in a release build, and asks it for its map where scripts/order wants one.

fn main() {
    const ORDER: &str = "scripts/link/start.ld";
    const MAP: &str = "LAUNCH_LINK_MAP";
    println!("cargo:rerun-if-changed={ORDER}");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed={MAP}");
    let folder = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        println!("cargo:rustc-link-arg-bins=-Wl,-T,{folder}/{ORDER}");
        if let Ok(map) = std::env::var(MAP) {
            println!("cargo:rustc-link-arg-bins=-Wl,-Map={map}");
        }
    }
}
