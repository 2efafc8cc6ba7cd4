//! The variable store of OVMF.
