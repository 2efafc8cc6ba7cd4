//! The expressions that rules consist of. Each loads a value into register 1, compares it, or acts on the packet.

use super::super::attributes::{Attributes, Malformed, Writer};

/// The only register that is used: 16 bytes, number 1.
const REGISTER: u32 = 1;
const REGISTER_VERDICT: u32 = 0;

const NAME: u16 = 1;
const DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;
const NF_DROP: u32 = 0;
const NF_ACCEPT: u32 = 1;

/// A property of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// The name of the device that it arrived on: 16 bytes.
    InputDevice,
    /// The name of the device that it leaves by: 16 bytes.
    OutputDevice,
    /// `NFPROTO_IPV4` (2) or `NFPROTO_IPV6` (10): 1 byte.
    Family,
    /// The protocol of layer 4: 1 byte.
    Protocol,
}

/// Where an offset in a packet starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// At the header of layer 3.
    Network,
    /// At the header of layer 4.
    Transport,
}

/// How a loaded value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// It must be equal.
    Equal,
    /// It must differ.
    NotEqual,
}

/// One expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Expression {
    /// Loads a property of the packet.
    Meta(Key),
    /// Loads bytes of the packet; a packet that is too short ends the rule.
    Payload {
        /// Where the offset starts.
        base: Base,
        /// The offset in bytes.
        offset: u32,
        /// The number of bytes.
        length: u32,
    },
    /// Loads the state of the packet's connection, as bits in host byte order: 4 bytes.
    ConnectionState,
    /// Keeps the bits of this mask in the loaded value.
    Mask(Vec<u8>),
    /// Compares the loaded value; the rule ends if the comparison fails.
    Compare(Comparison, Vec<u8>),
    /// The loaded value must lie between these two, which belong to the range.
    Range(Vec<u8>, Vec<u8>),
    /// The rule ends if more packets per second reach it, after a burst.
    Limit {
        /// Packets per second.
        rate: u64,
        /// Packets that may pass at once.
        burst: u32,
    },
    /// Counts the packet in the counter with this name.
    Counter(String),
    /// Accepts the packet.
    Accept,
    /// Drops the packet.
    Drop,
    /// Another expression, or one of these with other values; its name.
    Foreign(String),
}

impl Key {
    const ALL: [Self; 4] = [Self::InputDevice, Self::OutputDevice, Self::Family, Self::Protocol];

    /// `NFT_META_*`.
    const fn number(self) -> u32 {
        match self {
            Self::InputDevice => 6,
            Self::OutputDevice => 7,
            Self::Family => 15,
            Self::Protocol => 16,
        }
    }
}

impl Base {
    const ALL: [Self; 2] = [Self::Network, Self::Transport];

    /// `NFT_PAYLOAD_*_HEADER`.
    const fn number(self) -> u32 {
        match self {
            Self::Network => 1,
            Self::Transport => 2,
        }
    }
}

impl Comparison {
    /// `NFT_CMP_*`.
    const fn number(self) -> u32 {
        match self {
            Self::Equal => 0,
            Self::NotEqual => 1,
        }
    }
}

/// `NFT_CT_STATE`.
const CT_STATE: u32 = 0;
/// `NFT_OBJECT_COUNTER`.
const OBJECT_COUNTER: u32 = 1;
/// The unit of a limit, in seconds.
const SECOND: u64 = 1;

fn value(writer: &mut Writer, number: u16, value: &[u8]) {
    writer.nest(number, |data| {
        data.bytes(DATA_VALUE, value);
    });
}

impl Expression {
    /// Writes name and data. [`Expression::Foreign`] is refused before.
    pub(super) fn write(&self, element: &mut Writer) {
        element.text(NAME, self.name());
        element.nest(DATA, |data| match self {
            Self::Meta(key) => {
                data.be32(1, REGISTER).be32(2, key.number());
            }
            Self::Payload { base, offset, length } => {
                data.be32(1, REGISTER).be32(2, base.number()).be32(3, *offset).be32(4, *length);
            }
            Self::ConnectionState => {
                data.be32(1, REGISTER).be32(2, CT_STATE);
            }
            Self::Mask(mask) => {
                let length = u32::try_from(mask.len()).unwrap_or(u32::MAX); // at most 16
                data.be32(1, REGISTER).be32(2, REGISTER).be32(3, length);
                value(data, 4, mask);
                value(data, 5, &vec![0; mask.len()]);
            }
            Self::Compare(comparison, with) => {
                data.be32(1, REGISTER).be32(2, comparison.number());
                value(data, 3, with);
            }
            Self::Range(from, to) => {
                data.be32(1, REGISTER).be32(2, 0);
                value(data, 3, from);
                value(data, 4, to);
            }
            Self::Limit { rate, burst } => {
                data.be64(1, *rate).be64(2, SECOND).be32(3, *burst).be32(4, 0).be32(5, 0);
            }
            Self::Counter(name) => {
                data.be32(1, OBJECT_COUNTER).text(2, name);
            }
            Self::Accept | Self::Drop => {
                let code = if *self == Self::Accept { NF_ACCEPT } else { NF_DROP };
                data.be32(1, REGISTER_VERDICT).nest(2, |data| {
                    data.nest(DATA_VERDICT, |verdict| {
                        verdict.be32(VERDICT_CODE, code);
                    });
                });
            }
            Self::Foreign(_) => {}
        });
    }

    fn name(&self) -> &str {
        match self {
            Self::Meta(_) => "meta",
            Self::Payload { .. } => "payload",
            Self::ConnectionState => "ct",
            Self::Mask(_) => "bitwise",
            Self::Compare(..) => "cmp",
            Self::Range(..) => "range",
            Self::Limit { .. } => "limit",
            Self::Counter(_) => "objref",
            Self::Accept | Self::Drop => "immediate",
            Self::Foreign(name) => name,
        }
    }

    /// Reads an expression as the kernel lists it.
    pub(super) fn read(element: Attributes<'_>) -> Result<Self, Malformed> {
        let (mut name, mut data) = ("", Attributes(&[]));
        for attribute in element {
            let attribute = attribute?;
            match attribute.number {
                NAME => name = attribute.text()?,
                DATA => data = attribute.nested(),
                _ => {}
            }
        }
        let fields = Fields::read(data)?;
        let read = match name {
            "meta" => fields.meta()?,
            "payload" => fields.payload()?,
            "ct" => fields.connection_state()?,
            "bitwise" => fields.mask()?,
            "cmp" => fields.compare()?,
            "range" => fields.range()?,
            "limit" => fields.limit()?,
            "objref" => fields.counter()?,
            "immediate" => fields.verdict()?,
            _ => None,
        };
        Ok(read.unwrap_or_else(|| Self::Foreign(name.to_owned())))
    }
}

/// The attributes of an expression, by number. A field that is absent or has a value that kubedOS never writes makes the
/// expression foreign (`None`); a field of the wrong length is malformed.
struct Fields<'a>([Option<&'a [u8]>; 9]);

impl<'a> Fields<'a> {
    fn read(attributes: Attributes<'a>) -> Result<Self, Malformed> {
        let mut fields = [None; 9];
        for attribute in attributes {
            let attribute = attribute?;
            // Numbers above are paddings and later additions, which must not be present in what kubedOS writes.
            match fields.get_mut(usize::from(attribute.number)) {
                Some(field) => *field = Some(attribute.value),
                None => return Err(Malformed("attribute of an expression")),
            }
        }
        Ok(Self(fields))
    }

    fn bytes(&self, number: usize) -> Option<&'a [u8]> {
        self.0.get(number).copied().flatten()
    }

    fn word(&self, number: usize) -> Result<Option<u32>, Malformed> {
        let Some(bytes) = self.bytes(number) else { return Ok(None) };
        bytes
            .try_into()
            .map(|bytes| Some(u32::from_be_bytes(bytes)))
            .map_err(|_| Malformed("number of an expression"))
    }

    fn long(&self, number: usize) -> Result<Option<u64>, Malformed> {
        let Some(bytes) = self.bytes(number) else { return Ok(None) };
        bytes
            .try_into()
            .map(|bytes| Some(u64::from_be_bytes(bytes)))
            .map_err(|_| Malformed("number of an expression"))
    }

    /// The value in a nested attribute.
    fn value(&self, number: usize) -> Result<Option<Vec<u8>>, Malformed> {
        let mut found = None;
        for attribute in Attributes(self.bytes(number).unwrap_or_default()) {
            let attribute = attribute?;
            if attribute.number == DATA_VALUE {
                found = Some(attribute.value.to_vec());
            }
        }
        Ok(found)
    }

    /// The number is absent or 0.
    fn is_default(&self, number: usize) -> Result<bool, Malformed> {
        Ok(self.word(number)?.is_none_or(|value| value == 0))
    }

    fn loads(&self) -> Result<bool, Malformed> {
        Ok(self.word(1)? == Some(REGISTER))
    }

    fn meta(&self) -> Result<Option<Expression>, Malformed> {
        let key = self.word(2)?;
        let key = Key::ALL.into_iter().find(|known| Some(known.number()) == key);
        Ok(key
            .filter(|_| self.bytes(3).is_none())
            .zip(self.loads()?.then_some(()))
            .map(|(key, ())| Expression::Meta(key)))
    }

    fn payload(&self) -> Result<Option<Expression>, Malformed> {
        let base = self.word(2)?;
        let base = Base::ALL.into_iter().find(|known| Some(known.number()) == base);
        let place = self.word(3)?.zip(self.word(4)?);
        let writes = self.bytes(5).is_some();
        let fits = self.loads()? && !writes;
        Ok(base.zip(place).filter(|_| fits).map(|(base, (offset, length))| Expression::Payload {
            base,
            offset,
            length,
        }))
    }

    fn connection_state(&self) -> Result<Option<Expression>, Malformed> {
        let fits = self.loads()?
            && self.word(2)? == Some(CT_STATE)
            && self.bytes(3).is_none()
            && self.bytes(4).is_none();
        Ok(fits.then_some(Expression::ConnectionState))
    }

    fn mask(&self) -> Result<Option<Expression>, Malformed> {
        let (mask, xor) = (self.value(4)?, self.value(5)?);
        let length = self.word(3)?.and_then(|length| usize::try_from(length).ok());
        let fits = self.loads()?
            && self.word(2)? == Some(REGISTER)
            && self.is_default(6)?
            && mask.as_ref().map(Vec::len) == length
            && xor.is_some_and(|xor| xor.iter().all(|byte| *byte == 0));
        Ok(mask.filter(|_| fits).map(Expression::Mask))
    }

    fn compare(&self) -> Result<Option<Expression>, Malformed> {
        let operator = self.word(2)?;
        let comparison = [Comparison::Equal, Comparison::NotEqual];
        let comparison = comparison.into_iter().find(|known| Some(known.number()) == operator);
        let loads = self.loads()?;
        let pair = comparison.zip(self.value(3)?).filter(|_| loads);
        Ok(pair.map(|(comparison, value)| Expression::Compare(comparison, value)))
    }

    fn range(&self) -> Result<Option<Expression>, Malformed> {
        let fits = self.loads()? && self.word(2)? == Some(0);
        let pair = self.value(3)?.zip(self.value(4)?).filter(|_| fits);
        Ok(pair.map(|(from, to)| Expression::Range(from, to)))
    }

    fn limit(&self) -> Result<Option<Expression>, Malformed> {
        let fits = self.long(2)? == Some(SECOND) && self.is_default(4)? && self.is_default(5)?;
        let pair = self.long(1)?.zip(self.word(3)?).filter(|_| fits);
        Ok(pair.map(|(rate, burst)| Expression::Limit { rate, burst }))
    }

    fn counter(&self) -> Result<Option<Expression>, Malformed> {
        if self.word(1)? != Some(OBJECT_COUNTER) {
            return Ok(None);
        }
        let Some(name) = self.bytes(2) else { return Ok(None) };
        let name = name.strip_suffix(&[0]).ok_or(Malformed("name of a counter"))?;
        let name = String::from_utf8(name.to_vec()).map_err(|_| Malformed("name of a counter"))?;
        Ok(Some(Expression::Counter(name)))
    }

    fn verdict(&self) -> Result<Option<Expression>, Malformed> {
        if self.word(1)? != Some(REGISTER_VERDICT) {
            return Ok(None);
        }
        let mut code = None;
        for attribute in Attributes(self.bytes(2).unwrap_or_default()) {
            let attribute = attribute?;
            if attribute.number != DATA_VERDICT {
                continue;
            }
            for field in attribute.nested() {
                let field = field?;
                match field.number {
                    VERDICT_CODE => code = Some(field.be32()?),
                    _ => return Ok(None), // a jump to a chain
                }
            }
        }
        Ok(match code {
            Some(NF_ACCEPT) => Some(Expression::Accept),
            Some(NF_DROP) => Some(Expression::Drop),
            _ => None,
        })
    }
}
