//! Several nodes of one cluster on a switch, started one after another, for the tests of planes.
//!
//! Node number n, from 1, has the hardware address `52:54:00:00:00:0n` and the port of the switch with its own name.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use kubedos_lab::switch::{CaptureOptions, Switch, SwitchOptions};
use kubedos_lab::{Hardware, Machine, Nic, Patience};
use kubedos_tests::frames::Mac;
use kubedos_tests::{Product, Rig, status_page, test_cluster};
use kubedos_wire::record::Outcome;
use kubedos_wire::stage::Stage;

/// The hardware address of a station: a node's number, or another number for a station of the test.
pub const fn mac(last: u8) -> Mac {
    [0x52, 0x54, 0, 0, 0, last]
}

/// The image of `tests/clusters/three.yaml`: two control planes and a worker.
pub fn three() -> &'static Product {
    static THREE: OnceLock<Product> = OnceLock::new();
    THREE.get_or_init(|| Product::of(&test_cluster("three"), "three"))
}

/// Nodes that have ended their first boot.
pub struct Nodes {
    pub machines: Vec<Machine>,
    pub switch: Switch,
    /// Every frame since before the first machine started.
    pub capture: PathBuf,
    _rig: Rig,
}

impl Nodes {
    /// Boots the nodes of these names. `equip` adds hardware to the machine of each node.
    pub fn boot(
        test: &str,
        product: &'static Product,
        names: &[&str],
        equip: impl Fn(&Rig, usize, Hardware) -> Hardware,
    ) -> Self {
        let rig = Rig::of(product, test);
        let switch = Switch::start(&SwitchOptions::default()).unwrap();
        let capture = rig.bench().path("capture.pcapng");
        let options = CaptureOptions { file: capture.clone(), max_bytes: 64 << 20, outbound: false };
        switch.control().start_capture(&options).unwrap();
        let boot = |(place, node): (usize, &&str)| {
            let socket = switch.listen(node, rig.bench().folder()).unwrap();
            let mac = format!("52:54:00:00:00:{:02x}", place + 1).parse().unwrap();
            let hardware = rig
                .unseeded(rig.disk(&format!("{node}-disk")))
                .disk(product.seed(node))
                .network(Nic::new(socket.path, mac));
            let machine = rig.boot(&equip(&rig, place, hardware));
            let ended = |outcome| matches!(outcome, Outcome::Done | Outcome::Unchanged | Outcome::Waiting);
            let record = machine
                .wait_for("the end of Backplanes", Patience::BOOT, |record| {
                    record.stage == Stage::Backplanes.name() && ended(record.outcome)
                })
                .unwrap();
            assert_eq!(record.outcome, Outcome::Done, "{record:?}");
            machine
        };
        let machines = names.iter().enumerate().map(boot).collect();
        Self { machines, switch, capture, _rig: rig }
    }

    /// Waits until each status page shows a session with every other node on each plane.
    pub fn wait_for_sessions(&mut self) {
        let others = self.machines.len() - 1;
        let wanted = format!(", {others}/{others} sessions, ");
        let begun = Instant::now();
        for machine in &mut self.machines {
            loop {
                let page = status_page(machine);
                if page.iter().filter(|line| line.contains(&wanted)).count() == 3 {
                    assert!(page.iter().any(|line| line.contains("units     none failed")), "{page:#?}");
                    break;
                }
                assert!(begun.elapsed() < Duration::from_secs(180), "{page:#?}");
                std::thread::sleep(Duration::from_secs(3));
            }
        }
    }
}
