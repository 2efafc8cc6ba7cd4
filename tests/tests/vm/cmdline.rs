//! A5: a command line that a hypervisor appends with SMBIOS, which works also under Secure Boot, starts no foreign program. The kernel
//! ignores parameters after ` --`, and stage 1 finds the text and halts. The parameters are those of the table in `docs/boot.md`.

use std::sync::OnceLock;

use kubedos_image::layout::Role;
use kubedos_lab::{Attachment, Disk, Format, Machine, Patience};
use kubedos_tests::{Expect, Product, Rig, baseline, plant, project};
use kubedos_wire::record::{Outcome, Record};
use kubedos_wire::stage::EarlyStage;

use crate::foreign;

/// The first column of the table: `` | `appended` | what it would do | what happens | ``.
fn rows() -> Vec<String> {
    let page = std::fs::read_to_string(project().join("docs/boot.md")).unwrap();
    let section = page.split("\n## The command line").nth(1).unwrap().split("\n##").next().unwrap();
    let cell = |line: &str| Some(line.strip_prefix("| `")?.split_once("` | ")?.0.to_owned());
    let rows: Vec<String> = section.lines().filter_map(cell).collect();
    assert!(rows.len() > 15, "only {} rows in docs/boot.md", rows.len());
    rows
}

/// Boots with the text appended, and with the attacker's root on an NVMe disk, on a virtio disk, and as an initrd on the ESP. An error
/// describes a difference from the documented result.
fn append(product: &'static Product, test: &str, appended: &str) -> Result<(), String> {
    let rig = Rig::of(product, test);
    let copy = rig.copy("image");
    plant(&copy, product.partition(Role::Esp), "evil.cpio", &foreign::initrd());
    let hardware = rig
        .hardware(Disk::new(copy, Format::Raw))
        .disk(foreign::root(rig.bench(), "foreign-virtio"))
        .disk(foreign::root(rig.bench(), "foreign-nvme").attached(Attachment::Nvme))
        .smbios_string(format!("io.systemd.stub.kernel-cmdline-extra={appended}"));
    let machine = rig.boot(&hardware);
    let line = first(&machine);
    nothing_else_ran(machine)?;
    let error = Record::find(&line).and_then(|record| record.error).ok_or(line)?;
    let named = format!("appended: {:?}", format!(" {appended}"));
    if error.contains(&named) { Ok(()) } else { Err(error) }
}

/// The first line with a result: a halt, a panic, or the attacker's program.
fn first(machine: &Machine) -> String {
    let decides = |line: &str| {
        line.contains(foreign::MARK)
            || line.contains("Kernel panic")
            || Record::find(line).is_some_and(|record| record.outcome == Outcome::Halted)
    };
    machine.wait_for_line("a halt or a panic", Patience::BOOT, decides).unwrap()
}

/// Checks that only the first step of stage 1 has records, and that no program of the attacker ran.
fn nothing_else_ran(machine: Machine) -> Result<(), String> {
    let log = machine.log();
    let records = machine.finish();
    let console = String::from_utf8_lossy(&std::fs::read(log).unwrap()).into_owned();
    if console.contains(foreign::MARK) {
        return Err(foreign::MARK.to_owned());
    }
    let only_first = records.iter().all(|record| record.stage == EarlyStage::Modules.name());
    if only_first { Ok(()) } else { Err(format!("stage 1 continued: {records:#?}")) }
}

fn append_each(product: &'static Product, test: &str, chosen: impl Fn(&str) -> bool) {
    let chosen: Vec<String> = rows().into_iter().filter(|row| chosen(row)).collect();
    assert!(chosen.len() > 1, "no such rows");
    let failed: Vec<(&String, String)> = chosen
        .iter()
        .enumerate()
        .filter_map(|(number, row)| Some((row, append(product, &format!("{test}_{number}"), row).err()?)))
        .collect();
    assert!(failed.is_empty(), "{failed:#?}");
}

fn names_a_root(row: &str) -> bool {
    ["root=", "init=", "initrd="].iter().any(|word| row.contains(word))
}

/// The attack that the ` --` at the end of the command line prevents.
#[test]
fn no_appended_root_or_init_is_started() {
    append_each(Product::built(), "appended_root", names_a_root);
}

/// Parameters that weaken the kernel or suppress its messages: stage 1 halts although they take effect before it starts.
#[test]
fn stage_1_halts_with_every_appended_parameter() {
    append_each(Product::built(), "appended_parameter", |row| !names_a_root(row));
}

/// A2: the same with the generic kernel of bare metal, which has other built-in drivers.
#[test]
fn no_appended_root_is_started_by_the_generic_kernel() {
    static BARE_METAL: OnceLock<Product> = OnceLock::new();
    let product = BARE_METAL.get_or_init(|| Product::example("bare-metal"));
    append_each(product, "appended_root_metal", names_a_root);
}

/// The kernel's EFI stub truncates a text that is too long (COMMAND_LINE_SIZE, 2048 bytes) at a space. Stage 1 sees the parameters before
/// the cut. A single word that is too long is removed completely, so that no text is appended.
#[test]
fn a_truncated_command_line_does_not_hide_a_parameter() {
    let endless = "x".repeat(3000);
    let appended = format!("rdinit=/none root=/dev/nvme0n1 init=/sbin/init {endless}");
    let rig = Rig::new("cut_text");
    let hardware = |text: &str| {
        rig.hardware(rig.disk(&format!("disk-{}", text.len())))
            .disk(foreign::root(rig.bench(), &format!("foreign-{}", text.len())).attached(Attachment::Nvme))
            .smbios_string(format!("io.systemd.stub.kernel-cmdline-extra={text}"))
    };
    let machine = rig.boot(&hardware(&appended));
    let line = first(&machine);
    let error = Record::find(&line).and_then(|record| record.error).unwrap_or(line);
    assert!(error.contains(r#"appended: " rdinit=/none root=/dev/nvme0n1 init=/sbin/init"#), "{error}");
    nothing_else_ran(machine).unwrap();
    let machine = rig.boot(&hardware(&endless));
    baseline(&machine, Expect::Baseline);
}
