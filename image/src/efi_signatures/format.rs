//! The structures of UEFI 2.11, 32.4 (signature databases) and 8.2.2 (authenticated variables).

use crate::guid::Guid;

/// `EFI_CERT_X509_GUID`.
pub const CERT_X509: Guid = Guid::from_u128(0xa5c059a1_94e4_4aa7_87b5_ab155c2bf072);
/// `EFI_CERT_TYPE_PKCS7_GUID`.
pub const CERT_TYPE_PKCS7: Guid = Guid::from_u128(0x4aafd29d_68df_49ee_8aa9_347d375665a7);
/// `EFI_GLOBAL_VARIABLE`: vendor of PK and KEK.
pub const GLOBAL_VARIABLE: Guid = Guid::from_u128(0x8be4df61_93ca_11d2_aa0d_00e098032b8c);
/// `EFI_IMAGE_SECURITY_DATABASE_GUID`: vendor of db and dbx.
pub const IMAGE_SECURITY_DATABASE: Guid = Guid::from_u128(0xd719b2cb_3d3a_4596_a3bc_dad00e67656f);
/// The owner of the signatures that kubedOS enrols ("kubedOS" in ASCII, and the number 1).
pub const OWNER: Guid = Guid::from_u128(0x6b756265_644f_5301_8000_000000000001);

/// The length of the header of a list: type, list size, header size, signature size.
pub const LIST_HEADER_LENGTH: usize = 28;
/// The length of `EFI_TIME`, `WIN_CERTIFICATE` and certificate type of `EFI_VARIABLE_AUTHENTICATION_2`.
pub const AUTHENTICATION_HEADER_LENGTH: usize = TIME_LENGTH + 8 + 16;
/// The length of `EFI_TIME`.
pub const TIME_LENGTH: usize = 16;
/// `WIN_CERT_TYPE_EFI_GUID`.
pub const WIN_CERT_TYPE_EFI_GUID: u16 = 0x0ef1;
/// `WIN_CERT_REVISION`.
pub const REVISION: u16 = 0x0200;
/// `EFI_VARIABLE_NON_VOLATILE | BOOTSERVICE_ACCESS | RUNTIME_ACCESS | TIME_BASED_AUTHENTICATED_WRITE_ACCESS`.
pub const ATTRIBUTES: u32 = 0x27;
