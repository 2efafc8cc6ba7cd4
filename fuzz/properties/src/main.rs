//! Writes the seeds of every target to `fuzz/corpus/`. Other files in these folders are not changed.

use std::fs;

use kubedos_properties::{corpus, targets};

fn main() -> std::io::Result<()> {
    for target in targets() {
        let folder = corpus(target.name);
        fs::create_dir_all(&folder)?;
        for (name, bytes) in (target.seeds)() {
            fs::write(folder.join(name), bytes)?;
        }
    }
    Ok(())
}
