//! Lays the parts of the documentation page beside the code, compressed as they are sent: uncompressed they would be a tenth
//! of the executable.

use std::{
    env, fs,
    io::{Cursor, Read as _, Write as _},
    path::{Path, PathBuf},
};

use flate2::{Compression, write::GzEncoder};
use utoipa_swagger_ui_vendored::SWAGGER_UI_VENDORED;
use zip::ZipArchive;

/// What the page needs of the many parts that the viewer comes with.
const OF_THE_VIEWER: [&str; 2] = ["swagger-ui-bundle.js", "swagger-ui.css"];
/// What is ours.
const OURS: [&str; 2] = ["page.html", "start.js"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    let mut archive = ZipArchive::new(Cursor::new(SWAGGER_UI_VENDORED)).expect("the viewer is an archive");
    for name in OF_THE_VIEWER {
        let paths: Vec<String> = archive.file_names().flatten().map(Into::into).collect();
        let path = paths.iter().find(|path| path.ends_with(&format!("/dist/{name}")));
        let mut file = archive
            .by_name(path.expect("the part is there"))
            .expect("it can be read");
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).expect("it can be unpacked");
        compress(&out, name, &bytes);
    }
    for name in OURS {
        let path = Path::new("src/http/docs").join(name);
        println!("cargo::rerun-if-changed={}", path.display());
        compress(&out, name, &fs::read(path).expect("it stands beside the code"));
    }
    println!("cargo::rerun-if-changed=build.rs");
}

fn compress(out: &Path, name: &str, bytes: &[u8]) {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).expect("memory takes it");
    let compressed = encoder.finish().expect("memory takes it");
    fs::write(out.join(format!("{name}.gz")), compressed).expect("the folder can be written to");
}
