//! libzstd as a stream that the caller flushes after each piece.

use zstd_safe::zstd_sys::ZSTD_EndDirective;
use zstd_safe::{CCtx, CParameter, InBuffer, OutBuffer, SafeResult};

use super::fill::CompressError;

/// log2 of the window, which is the history that a reader keeps for each stream. A cluster of 64 KiB seldom refers to older data.
pub(super) const WINDOW_LOG: u8 = 18;

/// Converts an error code of the library.
pub(super) fn failed(code: usize) -> CompressError {
    CompressError(zstd_safe::get_error_name(code))
}

/// Creates a context for a level and inputs of about `hint` bytes. It writes neither content size nor checksum.
pub(super) fn context(level: u8, hint: u32) -> Result<CCtx<'static>, CompressError> {
    let mut context = CCtx::try_create().ok_or(CompressError("out of memory"))?;
    for parameter in [
        CParameter::CompressionLevel(level.into()),
        CParameter::WindowLog(WINDOW_LOG.into()),
        CParameter::SrcSizeHint(hint),
        CParameter::ContentSizeFlag(false),
        CParameter::ChecksumFlag(false),
    ] {
        context.set_parameter(parameter).map_err(failed)?;
    }
    Ok(context)
}

/// Compresses a piece and ends its last block.
pub(super) fn append(context: &mut CCtx<'_>, piece: &[u8], frame: &mut Vec<u8>) -> Result<(), CompressError> {
    let mut room = vec![0; zstd_safe::compress_bound(piece.len()) + 64];
    let written = {
        let mut output = OutBuffer::around(room.as_mut_slice());
        let mut input = InBuffer::around(piece);
        let mut step = || -> SafeResult {
            context.compress_stream2(&mut output, &mut input, ZSTD_EndDirective::ZSTD_e_flush)
        };
        while step().map_err(failed)? > 0 {}
        output.pos()
    };
    room.truncate(written);
    frame.extend_from_slice(&room);
    Ok(())
}
