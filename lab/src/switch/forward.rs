//! Decides where frames go. This module has no sockets, no threads and no clock; time is an argument.
//!
//! The path of a frame: it enters at a port ([`Forwarder::receive`]), its source is learned, the ports where it leaves
//! are selected, faults are applied for each of them, and it is put into the queue of the port (IEEE 802.1Q,
//! 8.6). A frame never leaves at the port where it entered. Link, partition and VLAN are checked when a frame
//! leaves, so they also apply to delayed frames.
//!
//! Differences from IEEE 802.1Q: there is no spanning tree, and frames to the reserved addresses
//! (`01-80-C2-00-00-0X`) are flooded like other multicast frames.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::capture::{Capture, CaptureOptions, Side};
use super::counters::{FaultCounters, SwitchStatus};
use super::error::SwitchError;
use super::faults::{FaultTable, Faults, Pair, Scope, Verdict};
use super::frame::{Frame, PortMode, Refusal, is_group};
use super::lines::{Lines, Parcel, Put};
use super::path_mtu::PathMtu;
use super::ports::{Kind, PortId, PortState, check_name};
use super::table::AddressTable;

#[derive(Debug)]
pub(super) struct Forwarder {
    ports: Vec<PortState>,
    table: AddressTable,
    faults: FaultTable,
    path_mtus: BTreeMap<Pair, PathMtu>,
    lines: Lines,
    capture: Option<Capture>,
    /// Whether something changed that the switch's thread must know.
    pub(super) wake_thread: bool,
    /// Whether a frame for an in-process port arrived.
    pub(super) wake_receivers: bool,
}

impl Forwarder {
    pub(super) fn new(seed: u64, aging: Duration) -> Self {
        Self {
            ports: Vec::new(),
            table: AddressTable::new(aging),
            faults: FaultTable::new(seed),
            path_mtus: BTreeMap::new(),
            lines: Lines::default(),
            capture: None,
            wake_thread: false,
            wake_receivers: false,
        }
    }

    /// A frame from the station at a port.
    pub(super) fn receive(&mut self, now: Duration, from: PortId, bytes: &[u8]) {
        self.advance(now);
        let Some(port) = self.ports.get_mut(from.0) else { return };
        if !port.link_up {
            port.dropped_in.link_down += 1;
            return;
        }
        let frame = Frame::enter(bytes, port.mode);
        match frame {
            Ok(_) => port.received.add(bytes.len()),
            Err(Refusal::Runt) => port.dropped_in.runt += 1,
            Err(Refusal::Oversized) => port.dropped_in.oversized += 1,
            Err(Refusal::Vlan) => port.dropped_in.vlan += 1,
        }
        if frame != Err(Refusal::Oversized)
            && let Some(capture) = &mut self.capture
        {
            capture.frame(now, from, Side::Inbound, bytes, None);
        }
        let Ok(frame) = frame else { return };
        let Some((destination, source)) = frame.addresses() else { return };
        if !is_group(source)
            && !self.table.learn(now, frame.vlan(), source, from)
            && let Some(port) = self.ports.get_mut(from.0)
        {
            port.dropped_in.not_learned += 1;
        }
        let known =
            if is_group(destination) { None } else { self.table.find(now, frame.vlan(), destination) };
        match known {
            Some(to) if to == from => {
                if let Some(port) = self.ports.get_mut(from.0) {
                    port.dropped_in.filtered += 1;
                }
            }
            Some(to) => self.send(now, (from, to), &frame),
            None => {
                for to in self.ids().filter(|to| *to != from) {
                    self.send(now, (from, to), &frame);
                }
            }
        }
        self.advance(now);
    }

    /// A frame from the station at a port that was too long to be read.
    pub(super) fn receive_oversized(&mut self, from: PortId) {
        let Some(port) = self.ports.get_mut(from.0) else { return };
        match port.link_up {
            true => port.dropped_in.oversized += 1,
            false => port.dropped_in.link_down += 1,
        }
    }

    /// Delivers all frames that are due.
    pub(super) fn advance(&mut self, now: Duration) {
        while let Some((parcel, delay)) = self.lines.take(now) {
            self.deliver(now, &parcel, delay);
        }
    }

    /// When [`Self::advance`] must be called.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.lines.next_due()
    }

    /// Applies the faults to a frame on its way to a port.
    fn send(&mut self, now: Duration, pair: Pair, frame: &Frame) {
        let Some(port) = self.ports.get_mut(pair.1.0) else { return };
        if !port.mode.carries(frame.vlan()) {
            return;
        }
        if let Some(limit) = self.path_mtus.get(&pair).copied()
            && !limit.fits(frame.untagged())
        {
            port.faults.too_large += 1;
            self.record_drop(now, pair, frame, "too_large");
            if let Some(report) = limit.report(frame.untagged()) {
                let back = Parcel {
                    pair: (pair.1, pair.0),
                    frame: frame.with(&report),
                    entered: now,
                    reordered: false,
                    duplicate: false,
                };
                self.put(now, back, Duration::ZERO, None);
            }
            return;
        }
        let Verdict { lost, delay, overtaken_by, duplicate } = self.faults.decide(pair);
        if lost {
            port.faults.lost += 1;
            self.record_drop(now, pair, frame, "lost");
            return;
        }
        let parcel = Parcel {
            pair,
            frame: frame.clone(),
            entered: now,
            reordered: overtaken_by.is_some(),
            duplicate: false,
        };
        if let Some(delay) = duplicate {
            port.faults.duplicated += 1;
            self.put(now, parcel.clone(), delay, overtaken_by);
            self.put(now, Parcel { reordered: false, duplicate: true, ..parcel }, delay, None);
        } else {
            self.put(now, parcel, delay, overtaken_by);
        }
    }

    fn put(&mut self, now: Duration, parcel: Parcel, delay: Duration, overtaken_by: Option<u32>) {
        let (pair, put) = (parcel.pair, self.lines.put(now, parcel, delay, overtaken_by));
        let Some(port) = self.ports.get_mut(pair.1.0) else { return };
        match put {
            Put::Due => return,
            Put::Delayed => port.faults.delayed += 1,
            Put::Held => port.faults.reordered += 1,
            Put::Full => port.faults.overflowed += 1,
        }
        self.wake_thread = true;
    }

    /// Puts a frame into the queue of its port.
    fn deliver(&mut self, now: Duration, parcel: &Parcel, delay: Duration) {
        let Parcel { pair: (from, to), frame, .. } = parcel;
        let Some(set) = self.ports.get(from.0).map(|port| port.set) else { return };
        let Some(port) = self.ports.get_mut(to.0) else { return };
        if !port.mode.carries(frame.vlan()) {
            port.dropped_out.vlan += 1;
            return;
        }
        if port.set != set {
            port.faults.partitioned += 1;
            self.record_drop(now, parcel.pair, frame, "partitioned");
            return;
        }
        if !port.link_up {
            port.dropped_out.link_down += 1;
            return;
        }
        if !port.attached {
            port.dropped_out.detached += 1;
            return;
        }
        let Some(bytes) = frame.leave(port.mode) else {
            port.dropped_out.oversized += 1;
            return;
        };
        if !port.queue.push(Arc::clone(&bytes)) {
            port.dropped_out.queue_full += 1;
            return;
        }
        port.sent.add(bytes.len());
        match port.kind {
            Kind::Socket => self.wake_thread = true,
            Kind::InProcess => self.wake_receivers = true,
        }
        if let Some(capture) = &mut self.capture {
            let from = self.ports.get(from.0).map_or("", |port| port.name.as_str());
            let comment = comment(from, parcel, delay);
            if comment.is_some() || capture.wants(Side::Outbound) {
                capture.frame(now, *to, Side::Outbound, &bytes, comment.as_deref());
            }
        }
    }

    /// Writes a dropped frame into the capture, as it would have left.
    fn record_drop(&mut self, now: Duration, (from, to): Pair, frame: &Frame, fault: &str) {
        let Some(capture) = &mut self.capture else { return };
        let Some(bytes) = self.ports.get(to.0).and_then(|port| frame.leave(port.mode)) else { return };
        let from = self.ports.get(from.0).map_or("", |port| port.name.as_str());
        capture.frame(now, to, Side::Dropped, &bytes, Some(&format!("from={from} {fault}")));
    }

    fn ids(&self) -> impl Iterator<Item = PortId> + use<> {
        (0..self.ports.len()).map(PortId)
    }
}

/// The comment on a frame that a fault affected.
fn comment(from: &str, parcel: &Parcel, delay: Duration) -> Option<String> {
    let delayed = (!delay.is_zero()).then(|| format!(" delayed_ns={}", delay.as_nanos()));
    let reordered = parcel.reordered.then(|| " reordered".to_owned());
    let duplicate = parcel.duplicate.then(|| " duplicate".to_owned());
    let words: String = delayed.into_iter().chain(reordered).chain(duplicate).collect();
    (!words.is_empty()).then(|| format!("from={from}{words}"))
}

/// The settings.
impl Forwarder {
    /// The id that [`Self::add_port`] returns for this name: a new one, or that of an in-process port without a station.
    pub(super) fn next_port(&self, name: &str, kind: Kind) -> Result<PortId, SwitchError> {
        check_name(name)?;
        match self.ports.iter().position(|port| port.name == name) {
            None => Ok(PortId(self.ports.len())),
            Some(index) => {
                let port = self.port(PortId(index))?;
                let free = port.kind == Kind::InProcess && kind == Kind::InProcess && !port.attached;
                free.then_some(PortId(index)).ok_or_else(|| SwitchError::NameInUse(name.to_owned()))
            }
        }
    }

    /// Adds a port if there is none with this name.
    pub(super) fn add_port(&mut self, name: &str, kind: Kind) -> Result<PortId, SwitchError> {
        let id = self.next_port(name, kind)?;
        if id.0 == self.ports.len() {
            self.ports.push(PortState::new(name, kind));
            if let Some(capture) = &mut self.capture {
                capture.port(name);
            }
        }
        Ok(id)
    }

    pub(super) fn port(&self, id: PortId) -> Result<&PortState, SwitchError> {
        self.ports.get(id.0).ok_or(SwitchError::UnknownPort)
    }

    pub(super) fn port_mut(&mut self, id: PortId) -> Result<&mut PortState, SwitchError> {
        self.ports.get_mut(id.0).ok_or(SwitchError::UnknownPort)
    }

    /// Sets whether a station is attached. Frames for the previous station are dropped.
    pub(super) fn set_attached(&mut self, id: PortId, attached: bool) {
        let Some(port) = self.ports.get_mut(id.0) else { return };
        port.attached = attached;
        port.clear_queue();
        self.table.forget(id);
    }

    pub(super) fn set_link(&mut self, id: PortId, up: bool) -> Result<(), SwitchError> {
        let port = self.port_mut(id)?;
        port.link_up = up;
        if !up {
            port.clear_queue();
            self.table.forget(id);
        }
        self.wake_thread = true;
        Ok(())
    }

    pub(super) fn set_mode(&mut self, id: PortId, mode: PortMode) -> Result<(), SwitchError> {
        self.port_mut(id)?.mode = mode;
        self.table.forget(id);
        Ok(())
    }

    pub(super) fn set_faults(&mut self, scope: Scope, faults: Faults) -> Result<(), SwitchError> {
        if let Scope::Pair { from, to } = scope {
            self.port(from).and(self.port(to))?;
        }
        self.faults.set(scope, faults)
    }

    pub(super) fn set_path_mtu(&mut self, pair: Pair, limit: Option<PathMtu>) -> Result<(), SwitchError> {
        self.port(pair.0).and(self.port(pair.1))?;
        let _before = match limit {
            Some(limit) => self.path_mtus.insert(pair, limit),
            None => self.path_mtus.remove(&pair),
        };
        Ok(())
    }

    pub(super) fn clear_faults(&mut self) {
        self.faults.clear();
    }

    /// Divides the ports into sets. The ports that are in no set form one more set.
    pub(super) fn partition(&mut self, sets: &[&[PortId]]) -> Result<(), SwitchError> {
        sets.iter().copied().flatten().try_for_each(|id| self.port(*id).map(drop))?;
        for (index, port) in self.ports.iter_mut().enumerate() {
            let set = sets.iter().position(|set| set.contains(&PortId(index)));
            port.set = set.map_or(0, |set| set + 1);
        }
        Ok(())
    }

    pub(super) fn start_capture(
        &mut self,
        options: &CaptureOptions,
        epoch: Duration,
    ) -> Result<(), SwitchError> {
        let failed = |source| SwitchError::Capture { path: options.file.clone(), source };
        self.use_capture(Capture::create(options, epoch).map_err(failed)?);
        Ok(())
    }

    pub(super) fn use_capture(&mut self, mut capture: Capture) {
        self.ports.iter().for_each(|port| capture.port(&port.name));
        self.capture = Some(capture);
    }

    pub(super) fn stop_capture(&mut self) {
        self.capture.iter_mut().for_each(Capture::stop);
    }

    pub(super) fn status(&self, now: Duration, error: Option<String>) -> SwitchStatus {
        let mut faults = FaultCounters::default();
        self.ports.iter().for_each(|port| faults.add(&port.faults));
        SwitchStatus {
            ports: self.ports.iter().map(PortState::status).collect(),
            addresses: self.table.len(now),
            faults,
            capture: self.capture.as_ref().map(|capture| capture.status().clone()),
            error,
        }
    }

    #[cfg(test)]
    pub(super) fn waiting_for(&self, id: PortId) -> usize {
        self.lines.waiting_for(id)
    }
}
