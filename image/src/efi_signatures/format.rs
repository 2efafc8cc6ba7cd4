//! The structures of UEFI 2.11, 32.4 (signature databases) and 8.2.2 (authenticated variables).

/// A GUID as it lies in memory: the first three fields little-endian.
pub type Guid = [u8; 16];

/// Makes a GUID of its printed fields.
pub const fn guid(a: u32, b: u16, c: u16, d: [u8; 8]) -> Guid {
    let (a, b, c) = (a.to_le_bytes(), b.to_le_bytes(), c.to_le_bytes());
    [a[0], a[1], a[2], a[3], b[0], b[1], c[0], c[1], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]]
}

/// `EFI_CERT_X509_GUID`.
pub const CERT_X509: Guid =
    guid(0xa5c0_59a1, 0x94e4, 0x4aa7, [0x87, 0xb5, 0xab, 0x15, 0x5c, 0x2b, 0xf0, 0x72]);
/// `EFI_CERT_TYPE_PKCS7_GUID`.
pub const CERT_TYPE_PKCS7: Guid =
    guid(0x4aaf_d29d, 0x68df, 0x49ee, [0x8a, 0xa9, 0x34, 0x7d, 0x37, 0x56, 0x65, 0xa7]);
/// `EFI_GLOBAL_VARIABLE`: vendor of PK and KEK.
pub const GLOBAL_VARIABLE: Guid =
    guid(0x8be4_df61, 0x93ca, 0x11d2, [0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c]);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: vendor of db and dbx.
pub const IMAGE_SECURITY_DATABASE: Guid =
    guid(0xd719_b2cb, 0x3d3a, 0x4596, [0xa3, 0xbc, 0xda, 0xd0, 0x0e, 0x67, 0x65, 0x6f]);
/// Owner of the signatures that kubedOS enrols: 6b756265-644f-5301-8000-000000000001, a custom GUID (RFC 9562, version 5 left out: it is
/// a name).
pub const OWNER: Guid = guid(0x6b75_6265, 0x644f, 0x5301, [0x80, 0, 0, 0, 0, 0, 0, 1]);

/// Type, list size, header size, signature size.
pub const LIST_HEADER_LENGTH: usize = 28;
/// `EFI_TIME`, `WIN_CERTIFICATE` and certificate type of `EFI_VARIABLE_AUTHENTICATION_2`.
pub const AUTHENTICATION_HEADER_LENGTH: usize = TIME_LENGTH + 8 + 16;
/// `EFI_TIME`.
pub const TIME_LENGTH: usize = 16;
/// `WIN_CERT_TYPE_EFI_GUID`.
pub const WIN_CERT_TYPE_EFI_GUID: u16 = 0x0ef1;
/// `WIN_CERT_REVISION`.
pub const REVISION: u16 = 0x0200;
/// `EFI_VARIABLE_NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS | TIME_BASED_AUTHENTICATED_WRITE_ACCESS`.
pub const ATTRIBUTES: u32 = 0x27;
