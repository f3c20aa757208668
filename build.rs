//! Generates the messages and services of `proto/` with protox, if the feature `proto` is on. No
//! protoc is needed.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    #[cfg(feature = "proto")]
    generate().expect("proto/ compiles: the message above names file and line");
}

#[cfg(feature = "proto")]
fn generate() -> Result<(), Box<dyn std::error::Error>> {
    use std::path::{Path, PathBuf};

    let folder = Path::new("proto/bookd/v1");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    for file in &files {
        println!("cargo::rerun-if-changed={}", file.display());
    }
    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(&files)?;
    // Encoded by protox itself: prost-types' messages would drop the comments and options, which
    // reflection shows.
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    std::fs::write(
        out.join("descriptors.bin"),
        compiler.encode_file_descriptor_set(),
    )?;
    tonic_prost_build::configure()
        .btree_map(".")
        // The API calls its methods by a table of its own.
        .build_server(false)
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
