//! Disks of an earlier release: this release boots on them and keeps STATE, DATA and the node's key (O1). `make previous-disk` builds such a
//! disk with the earlier release. This takes minutes, so the test is a part of `make drill`.

use kubedos_lab::{Disk, Format};
use kubedos_tests::{
    DISK, Expect, Product, Rig, baseline, last, no_failed_unit, project, status_page, succeeds, tools,
    transplant,
};
use kubedos_wire::stage::Stage;

/// This release's image overwrites the start of the disk, as an operator does it today. STATE and DATA are after the image.
#[test]
#[ignore = "needs `make previous-disk`, which builds the previous release: a part of `make drill`"]
fn a_disk_of_the_previous_release_keeps_state_data_and_the_nodes_key() {
    let rig = Rig::new("a_disk_of_the_previous_release");
    let previous = project().join("target/previous");
    let raw = rig.bench().path("disk");
    let mut convert = tools().command("usr/bin/qemu-img").unwrap();
    convert.args(["convert", "-f", "qcow2", "-O", "raw"]).arg(previous.join("0.1.0.qcow2")).arg(&raw);
    succeeds(&mut convert);
    assert_eq!(std::fs::metadata(&raw).unwrap().len(), DISK);
    let image = Product::built();
    transplant(image.raw(), 0..image.length(), &raw, 0);
    let disk = Disk::new(&raw, Format::Raw);

    let mut machine = rig.boot(&rig.hardware(disk.clone()));
    let records = baseline(&machine, Expect::Baseline);
    let note = last(&records, Stage::Disks).note.clone().unwrap();
    assert!(note.contains("vda adopted") && !note.contains("created"), "{note}");
    let key = std::fs::read_to_string(previous.join("0.1.0.key")).unwrap();
    let page = status_page(&mut machine);
    for words in [key.trim(), "units     none failed"] {
        assert!(page.iter().any(|line| line.contains(words)), "{words} is not on {page:#?}");
    }
    machine.cut_power().unwrap();

    let mut machine = rig.boot(&rig.hardware(disk));
    baseline(&machine, Expect::BaselineUnchanged);
    no_failed_unit(&mut machine);
}
