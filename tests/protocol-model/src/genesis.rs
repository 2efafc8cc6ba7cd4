//! Genesis with three control planes: A and B are honest, C belongs to the attacker.
//!
//! Each honest control plane may lose its disk at any time; it then has new keys and a new nonce, which the model calls
//! the number of its disk. The operator mints a token with the next lineage, without C, if the present one cannot end.
//! Every hello and every signature that ever existed can reach anybody. Nonces of C are not in the model: another nonce of
//! C makes another root, for which the honest ones would have to sign again.
//!
//! Forbidden: two genesis proofs of one lineage, as long as one honest control plane has kept its disk.

use std::collections::{BTreeMap, BTreeSet};

use kubedos_wire::membership::{GenesisCheck, Hello, SigningSeat, Token, proven};
use kubedos_wire::value::NodeId;

use crate::checker::Model;

/// The model, with what is changed for a mutant.
#[derive(Debug, Clone, Default)]
pub struct Genesis {
    /// How many disks the honest control planes may lose together.
    pub losses: u8,
    /// The check that is left out.
    pub without: Option<GenesisCheck>,
    /// Whether the hellos and signatures of two of three control planes are enough.
    pub by_quorum: bool,
}

/// An honest control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Plane {
    disk: u8,
    /// The lineage that it belongs to; 0 if none.
    formed: u8,
    /// The last first root that it has signed with this disk.
    signed: Option<FirstRoot>,
    /// The lineage for which it has said hello with this disk.
    hello: u8,
}

/// A first root: its lineage, the disks of A and B in it, and whether C is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FirstRoot {
    lineage: u8,
    disks: [Option<u8>; 2],
    with_c: bool,
}

/// A state.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct State {
    planes: [Plane; 2],
    losses: u8,
    /// For each lineage, whether the token names C.
    tokens: Vec<bool>,
    /// Lineage, control plane, disk.
    hellos: BTreeSet<(u8, usize, u8)>,
    /// The root, the control plane that has signed it, and the disk that it had.
    signatures: BTreeSet<(FirstRoot, usize, u8)>,
}

/// A step.
#[derive(Debug)]
pub enum Step {
    /// A control plane says hello.
    Hello(usize),
    /// A control plane signs a first root.
    Sign(usize, FirstRoot),
    /// A control plane sees a genesis proof that has its present keys.
    Form(usize, FirstRoot),
    /// A control plane loses its disk.
    LoseDisk(usize),
    /// The operator mints a token without C.
    Mint,
}

const C: usize = 2;

fn id(plane: usize) -> Option<NodeId> {
    u32::try_from(plane + 1).ok().and_then(NodeId::new)
}

fn hellos_of(root: &FirstRoot) -> BTreeMap<NodeId, Hello<u8>> {
    let hello = |disk: u8| Hello { lineage: root.lineage.into(), incarnation: 1, nonce: disk };
    let honest = root.disks.iter().enumerate().filter_map(|(plane, disk)| id(plane).zip(disk.map(hello)));
    honest.chain(id(C).filter(|_| root.with_c).map(|id| (id, hello(0)))).collect()
}

impl Genesis {
    fn token(state: &State, lineage: u8) -> Option<Token> {
        let with_c = *state.tokens.get(usize::from(lineage).checked_sub(1)?)?;
        let named = [Some(0), Some(1), with_c.then_some(C)];
        let control_planes = named.into_iter().flatten().filter_map(id).map(|id| (id, 1)).collect();
        Some(Token { lineage: lineage.into(), control_planes })
    }

    /// The first roots that anybody could propose: from the hellos that exist.
    fn roots(&self, state: &State) -> Vec<FirstRoot> {
        let mut roots = Vec::new();
        for (lineage, with_c) in (1..).zip(&state.tokens) {
            let disks = |plane: usize| {
                let of = move |hello: &&(u8, usize, u8)| (hello.0, hello.1) == (lineage, plane);
                let absent = self.by_quorum.then_some(None);
                state.hellos.iter().filter(of).map(|hello| Some(hello.2)).chain(absent)
            };
            for a in disks(0) {
                roots.extend(disks(1).map(|b| FirstRoot { lineage, disks: [a, b], with_c: *with_c }));
            }
        }
        roots
    }

    fn signs(&self, state: &State, plane: usize, own: &Plane, root: &FirstRoot) -> bool {
        let Some((token, id)) = Self::token(state, root.lineage).zip(id(plane)) else { return false };
        let hellos = hellos_of(root);
        let seat = SigningSeat {
            id,
            incarnation: 1,
            nonce: own.disk,
            known_lineage: own.formed.into(),
            signed: own.signed.map(|signed| (signed.lineage.into(), hellos_of(&signed))),
        };
        GenesisCheck::ALL.into_iter().filter(|check| Some(*check) != self.without).all(|check| {
            let everybody = check == GenesisCheck::Everybody && self.by_quorum;
            if everybody { hellos.len() >= 2 } else { check.holds(&seat, &token, &hellos) }
        })
    }

    /// Whether a first root has a genesis proof, if the attacker helps or does not.
    fn is_proven(&self, state: &State, root: &FirstRoot, with_attacker: bool) -> bool {
        let Some(token) = Self::token(state, root.lineage) else { return false };
        let of_root = state.signatures.iter().filter(|(signed, _, _)| signed == root);
        let mut signers: BTreeSet<NodeId> = of_root.filter_map(|(_, plane, _)| id(*plane)).collect();
        signers.extend(id(C).filter(|_| root.with_c && with_attacker));
        if self.by_quorum { signers.len() >= 2 } else { proven(&token, &signers) }
    }

    /// Whether the newest lineage may never end, so that an operator mints the next token: C is in it, or an honest
    /// control plane has signed a first root with a disk that is lost.
    fn cannot_end(state: &State) -> bool {
        let lineage = u8::try_from(state.tokens.len()).unwrap_or(u8::MAX);
        let disks = state.planes.map(|plane| Some(plane.disk));
        let is_stale = |root: FirstRoot| root.lineage == lineage && root.disks != disks;
        let stale = state.planes.iter().filter_map(|plane| plane.signed).any(is_stale);
        let formed = state.planes.iter().any(|plane| plane.formed == lineage);
        (stale || state.tokens.last() == Some(&true)) && !formed
    }
}

impl Model for Genesis {
    type State = State;
    type Step = Step;

    fn initial(&self) -> State {
        let plane = Plane { disk: 0, formed: 0, signed: None, hello: 0 };
        let (hellos, signatures) = (BTreeSet::new(), BTreeSet::new());
        State { planes: [plane; 2], losses: 0, tokens: vec![true], hellos, signatures }
    }

    fn steps(&self, state: &State) -> Vec<(Step, bool, State)> {
        let mut steps = Vec::new();
        let newest = u8::try_from(state.tokens.len()).unwrap_or(u8::MAX);
        let roots = self.roots(state);
        for (plane, own) in state.planes.iter().enumerate() {
            let with = |own: Plane| {
                let mut after = state.clone();
                after.planes.iter_mut().skip(plane).take(1).for_each(|entry| *entry = own);
                after
            };
            if own.hello < newest && own.formed < newest {
                let mut after = with(Plane { hello: newest, ..*own });
                after.hellos.insert((newest, plane, own.disk));
                steps.push((Step::Hello(plane), true, after));
            }
            for root in &roots {
                let is_new = !state.signatures.contains(&(*root, plane, own.disk));
                if is_new && self.signs(state, plane, own, root) {
                    let mut after = with(Plane { signed: Some(*root), ..*own });
                    after.signatures.insert((*root, plane, own.disk));
                    steps.push((Step::Sign(plane, *root), true, after));
                }
                let has_own = root.disks.get(plane).copied().flatten() == Some(own.disk);
                if has_own && root.lineage > own.formed && self.is_proven(state, root, true) {
                    // Once one honest control plane has the proof, it gives it to the other one.
                    let is_known = state.planes.iter().any(|other| other.formed == root.lineage);
                    let is_honest = is_known || self.is_proven(state, root, false);
                    let after = with(Plane { formed: root.lineage, ..*own });
                    steps.push((Step::Form(plane, *root), is_honest, after));
                }
            }
            if state.losses < self.losses {
                let mut after = with(Plane { disk: own.disk + 1, formed: 0, signed: None, hello: 0 });
                after.losses += 1;
                steps.push((Step::LoseDisk(plane), false, after));
            }
        }
        if Self::cannot_end(state) {
            let mut after = state.clone();
            after.tokens.push(false);
            steps.push((Step::Mint, true, after));
        }
        steps
    }

    fn forbidden(&self, _before: &State, after: &State) -> Option<&'static str> {
        let roots: BTreeSet<FirstRoot> = after.signatures.iter().map(|(root, _, _)| *root).collect();
        let proven: Vec<FirstRoot> =
            roots.into_iter().filter(|root| self.is_proven(after, root, true)).collect();
        // The disk with which a control plane has first signed one of the two.
        let first_disk = |plane: usize, pair: [FirstRoot; 2]| {
            let of = |s: &&(FirstRoot, usize, u8)| pair.contains(&s.0) && s.1 == plane;
            after.signatures.iter().filter(of).map(|s| s.2).min()
        };
        let kept = |pair: [FirstRoot; 2]| {
            after
                .planes
                .iter()
                .enumerate()
                .any(|(plane, own)| first_disk(plane, pair).is_none_or(|disk| disk == own.disk))
        };
        let second = proven.iter().any(|one| {
            proven.iter().any(|other| one != other && one.lineage == other.lineage && kept([*one, *other]))
        });
        second.then_some("a second genesis of one lineage")
    }

    /// Somebody has formed, and the others have too, or have lost the disk that takes part: an operator replaces those.
    fn is_good(&self, state: &State) -> bool {
        let lineage = state.planes.iter().map(|plane| plane.formed).max().unwrap_or(0);
        let has_place = |plane: usize, own: &Plane| {
            state.signatures.iter().any(|(root, _, _)| {
                let is_in = root.disks.get(plane).copied().flatten() == Some(own.disk);
                root.lineage == lineage && is_in && self.is_proven(state, root, true)
            })
        };
        let is_done = |(plane, own): (usize, &Plane)| own.formed == lineage || !has_place(plane, own);
        lineage > 0 && state.planes.iter().enumerate().all(is_done)
    }
}
