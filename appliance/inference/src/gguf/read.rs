//! The bounded reader.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufReader, Read},
    path::Path,
};

use super::{
    DEFAULT_ALIGNMENT, Gguf, GgufError, MAX_ALIGNMENT, MAX_ARRAY_ELEMENTS, MAX_DIMENSIONS, MAX_HEADER_BYTES,
    MAX_METADATA, MAX_NAME_BYTES, MAX_STRING_BYTES, MAX_TENSOR_ELEMENTS, MAX_TENSORS, TensorInfo, TensorType,
    Texts, Value,
};

const MAGIC: [u8; 4] = *b"GGUF";
/// The oldest version read: 64-bit lengths.
const OLDEST_VERSION: u32 = 2;
/// The newest version read.
const NEWEST_VERSION: u32 = 3;
/// Memory reserved ahead of content that a length only promises, elements.
const MAX_RESERVED: usize = 4096;

/// Reads and checks the header of a file.
///
/// # Errors
/// [`GgufError`] for a file that cannot be read or breaks a rule or limit of the format.
pub fn read_file(path: &Path) -> Result<Gguf, GgufError> {
    let file = File::open(path).map_err(GgufError::Io)?;
    let file_bytes = file.metadata().map_err(GgufError::Io)?.len();
    read_header(BufReader::with_capacity(1 << 16, file), file_bytes)
}

/// Reads and checks a header from anything that gives bytes; `file_bytes` is the size of the whole file.
///
/// # Errors
/// [`GgufError`] as for [`read_file`].
pub fn read_header(reader: impl Read, file_bytes: u64) -> Result<Gguf, GgufError> {
    let mut cursor = Cursor { reader, position: 0, end: file_bytes.min(MAX_HEADER_BYTES), file_bytes };
    if cursor.bytes::<4>("the magic number")? != MAGIC {
        return Err(GgufError::Magic);
    }
    let version = cursor.u32("the version")?;
    if !(OLDEST_VERSION..=NEWEST_VERSION).contains(&version) {
        return Err(GgufError::Version(version));
    }
    let tensor_count = limited("the number of tensors", cursor.u64("the number of tensors")?, MAX_TENSORS)?;
    let value_count =
        limited("the number of metadata entries", cursor.u64("the number of entries")?, MAX_METADATA)?;

    let mut metadata = BTreeMap::new();
    for _ in 0..value_count {
        let key = cursor.text("a metadata key", MAX_NAME_BYTES)?;
        let value = cursor.value(&key)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(GgufError::Duplicate(key));
        }
    }
    let mut tensors = BTreeMap::new();
    for _ in 0..tensor_count {
        let (name, info) = cursor.tensor()?;
        if tensors.insert(name.clone(), info).is_some() {
            return Err(GgufError::Duplicate(name));
        }
    }
    let alignment = match metadata.get("general.alignment") {
        Some(Value::Int(alignment)) => u64::try_from(*alignment).unwrap_or(0),
        _ => DEFAULT_ALIGNMENT,
    };
    if !alignment.is_power_of_two() || !(8..=MAX_ALIGNMENT).contains(&alignment) {
        return Err(GgufError::Alignment(alignment));
    }
    place(&mut tensors, cursor.position.next_multiple_of(alignment), alignment, file_bytes)?;
    Ok(Gguf { metadata, tensors, file_bytes })
}

/// Turns offsets relative to the data into positions in the file; each tensor must lie in the file, apart from all others.
fn place(
    tensors: &mut BTreeMap<String, TensorInfo>,
    data_start: u64,
    alignment: u64,
    file_bytes: u64,
) -> Result<(), GgufError> {
    for (name, info) in tensors.iter_mut() {
        if !info.start.is_multiple_of(alignment) {
            return Err(GgufError::Unaligned { tensor: name.clone(), offset: info.start });
        }
        info.start = info.start.saturating_add(data_start);
        let end = info.start.saturating_add(info.bytes);
        if end > file_bytes {
            return Err(GgufError::OutOfFile { tensor: name.clone(), end, file_bytes });
        }
    }
    let mut by_position: Vec<(&String, &TensorInfo)> = tensors.iter().collect();
    by_position.sort_by_key(|(_, info)| info.start);
    for pair in by_position.windows(2) {
        if let [(first, before), (second, after)] = pair
            && before.start + before.bytes > after.start
        {
            return Err(GgufError::Overlap { first: (*first).clone(), second: (*second).clone() });
        }
    }
    Ok(())
}

fn limited(what: &str, found: u64, limit: u64) -> Result<u64, GgufError> {
    if found > limit { Err(GgufError::Limit { what: what.to_owned(), found, limit }) } else { Ok(found) }
}

struct Cursor<R> {
    reader: R,
    position: u64,
    /// Where the header must have ended: the end of the file or the limit, whichever comes first.
    end: u64,
    file_bytes: u64,
}

impl<R: Read> Cursor<R> {
    /// Checks that so many bytes of header may follow.
    fn expect(&mut self, bytes: u64, what: &'static str) -> Result<(), GgufError> {
        let position = self.position.saturating_add(bytes);
        if position > self.file_bytes {
            return Err(GgufError::Truncated(what));
        }
        limited("the size of the header", position, self.end)?;
        self.position = position;
        Ok(())
    }

    fn fill(&mut self, buffer: &mut [u8], what: &'static str) -> Result<(), GgufError> {
        self.expect(buffer.len() as u64, what)?;
        self.reader.read_exact(buffer).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof => GgufError::Truncated(what),
            _ => GgufError::Io(error),
        })
    }

    fn bytes<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], GgufError> {
        let mut buffer = [0; N];
        self.fill(&mut buffer, what)?;
        Ok(buffer)
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, GgufError> {
        self.bytes(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, GgufError> {
        self.bytes(what).map(u64::from_le_bytes)
    }

    fn text(&mut self, what: &'static str, limit: u64) -> Result<String, GgufError> {
        let length = limited(&format!("the length of {what}"), self.u64(what)?, limit)?;
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
        self.fill(&mut buffer, what)?;
        String::from_utf8(buffer).map_err(|_| GgufError::Text(what.to_owned()))
    }

    fn value(&mut self, key: &str) -> Result<Value, GgufError> {
        let kind = self.u32("a value's type")?;
        Ok(match kind {
            6 | 12 => Value::Float(self.float(kind)?),
            7 => Value::Bool(self.truth(key)?),
            8 => Value::Text(self.text("a text value", MAX_STRING_BYTES)?),
            9 => self.array(key)?,
            _ => Value::Int(self.integer(kind, key)?),
        })
    }

    fn integer(&mut self, kind: u32, key: &str) -> Result<i64, GgufError> {
        const WHAT: &str = "an integer";
        Ok(match kind {
            0 => i64::from(u8::from_le_bytes(self.bytes(WHAT)?)),
            1 => i64::from(i8::from_le_bytes(self.bytes(WHAT)?)),
            2 => i64::from(u16::from_le_bytes(self.bytes(WHAT)?)),
            3 => i64::from(i16::from_le_bytes(self.bytes(WHAT)?)),
            4 => i64::from(self.u32(WHAT)?),
            5 => i64::from(i32::from_le_bytes(self.bytes(WHAT)?)),
            10 => {
                let value = self.u64(WHAT)?;
                i64::try_from(value).map_err(|_| GgufError::Limit {
                    what: format!("the value of {key:?}"),
                    found: value,
                    limit: i64::MAX as u64,
                })?
            }
            11 => i64::from_le_bytes(self.bytes(WHAT)?),
            _ => return Err(GgufError::ValueType { key: key.to_owned(), kind }),
        })
    }

    fn float(&mut self, kind: u32) -> Result<f64, GgufError> {
        Ok(match kind {
            6 => f64::from(f32::from_le_bytes(self.bytes("a float")?)),
            _ => f64::from_le_bytes(self.bytes("a float")?),
        })
    }

    fn truth(&mut self, key: &str) -> Result<bool, GgufError> {
        match self.bytes::<1>("a truth value")? {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(GgufError::Bool(key.to_owned())),
        }
    }

    fn array(&mut self, key: &str) -> Result<Value, GgufError> {
        let kind = self.u32("an array's type")?;
        let length = self.u64("an array's length")?;
        let length = limited(&format!("the length of {key:?}"), length, MAX_ARRAY_ELEMENTS)?;
        let count = usize::try_from(length).unwrap_or(0);
        let reserve = count.min(MAX_RESERVED);
        Ok(match kind {
            6 | 12 => {
                let mut values = Vec::with_capacity(reserve);
                for _ in 0..count {
                    values.push(self.float(kind)? as f32);
                }
                Value::Floats(values)
            }
            8 => {
                let mut values = Texts::default();
                for _ in 0..count {
                    values.push(&self.text("a text in an array", MAX_STRING_BYTES)?);
                }
                Value::Texts(values)
            }
            _ => {
                let mut values = Vec::with_capacity(reserve);
                for _ in 0..count {
                    values.push(match kind {
                        7 => i64::from(self.truth(key)?),
                        _ => self.integer(kind, key)?,
                    });
                }
                if count == 0 && !matches!(kind, 0..=5 | 7 | 10 | 11) {
                    return Err(GgufError::ValueType { key: key.to_owned(), kind });
                }
                Value::Ints(values)
            }
        })
    }

    fn tensor(&mut self) -> Result<(String, TensorInfo), GgufError> {
        const WHAT: &str = "the tensor table";
        let name = self.text("a tensor's name", MAX_NAME_BYTES)?;
        let count = self.u32(WHAT)?;
        limited(&format!("the number of dimensions of {name:?}"), count.into(), MAX_DIMENSIONS.into())?;
        let mut dims = Vec::with_capacity(4);
        for _ in 0..count {
            dims.push(self.u64(WHAT)?);
        }
        let number = self.u32(WHAT)?;
        let start = self.u64(WHAT)?;
        let Some(kind) = TensorType::from_number(number) else {
            return Err(GgufError::TensorType { tensor: name, kind: number });
        };
        let elements = dims.iter().try_fold(1_u64, |product, dim| product.checked_mul(*dim));
        let whole_blocks = dims.first().is_some_and(|columns| columns.is_multiple_of(kind.block_elements()));
        let Some(elements) =
            elements.filter(|count| (1..=MAX_TENSOR_ELEMENTS).contains(count) && whole_blocks)
        else {
            return Err(GgufError::Shape { tensor: name, dims });
        };
        let bytes = elements / kind.block_elements() * kind.block_bytes();
        Ok((name, TensorInfo { dims, kind, start, bytes }))
    }
}
