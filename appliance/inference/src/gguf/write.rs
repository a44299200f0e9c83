//! Writes GGUF version 3. Depends on nothing but the standard library.

use std::io::{self, Write};

/// Alignment of tensor data in written files, bytes (the format's default).
pub const ALIGNMENT: u64 = 32;

/// A metadata value to write.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Type 4.
    U32(u32),
    /// Type 6.
    F32(f32),
    /// Type 7.
    Bool(bool),
    /// Type 8.
    Text(String),
    /// Type 9 of type 8.
    Texts(Vec<String>),
    /// Type 9 of type 6.
    Floats(Vec<f32>),
    /// Type 9 of type 5.
    Ints(Vec<i32>),
}

/// A tensor to write: its place in the table; the bytes follow later, in the same order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Name.
    pub name: String,
    /// Dimensions, innermost first.
    pub dims: Vec<u64>,
    /// Number of the element type.
    pub kind: u32,
    /// Number of bytes.
    pub bytes: u64,
}

/// Writes a file: the header at once, then each tensor's bytes, streamed in the order of the table.
pub struct Writer<W> {
    out: W,
    written: u64,
}

impl<W: Write> Writer<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// What `out` says.
    pub fn new(out: W, metadata: &[(String, Value)], tensors: &[Tensor]) -> io::Result<Self> {
        let mut writer = Self { out, written: 0 };
        writer.put(b"GGUF")?;
        writer.put(&3_u32.to_le_bytes())?;
        writer.put(&(tensors.len() as u64).to_le_bytes())?;
        writer.put(&(metadata.len() as u64).to_le_bytes())?;
        for (key, value) in metadata {
            writer.text(key)?;
            writer.value(value)?;
        }
        let mut offset = 0_u64;
        for tensor in tensors {
            writer.text(&tensor.name)?;
            writer.put(&(tensor.dims.len() as u32).to_le_bytes())?;
            for dim in &tensor.dims {
                writer.put(&dim.to_le_bytes())?;
            }
            writer.put(&tensor.kind.to_le_bytes())?;
            writer.put(&offset.to_le_bytes())?;
            offset += tensor.bytes.next_multiple_of(ALIGNMENT);
        }
        writer.pad()?;
        Ok(writer)
    }

    /// Writes a part of the current tensor's bytes.
    ///
    /// # Errors
    /// What `out` says.
    pub fn data(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.put(bytes)
    }

    /// Ends the current tensor.
    ///
    /// # Errors
    /// What `out` says.
    pub fn end_tensor(&mut self) -> io::Result<()> {
        self.pad()
    }

    /// Ends the file and gives the writer back.
    ///
    /// # Errors
    /// What `out` says.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.written += bytes.len() as u64;
        self.out.write_all(bytes)
    }

    fn pad(&mut self) -> io::Result<()> {
        let missing = self.written.next_multiple_of(ALIGNMENT) - self.written;
        for _ in 0..missing {
            self.put(&[0])?;
        }
        Ok(())
    }

    fn text(&mut self, text: &str) -> io::Result<()> {
        self.put(&(text.len() as u64).to_le_bytes())?;
        self.put(text.as_bytes())
    }

    fn array(&mut self, kind: u32, length: usize) -> io::Result<()> {
        self.put(&9_u32.to_le_bytes())?;
        self.put(&kind.to_le_bytes())?;
        self.put(&(length as u64).to_le_bytes())
    }

    fn value(&mut self, value: &Value) -> io::Result<()> {
        match value {
            Value::U32(value) => {
                self.put(&4_u32.to_le_bytes())?;
                self.put(&value.to_le_bytes())
            }
            Value::F32(value) => {
                self.put(&6_u32.to_le_bytes())?;
                self.put(&value.to_le_bytes())
            }
            Value::Bool(value) => {
                self.put(&7_u32.to_le_bytes())?;
                self.put(&[u8::from(*value)])
            }
            Value::Text(text) => {
                self.put(&8_u32.to_le_bytes())?;
                self.text(text)
            }
            Value::Texts(texts) => {
                self.array(8, texts.len())?;
                texts.iter().try_for_each(|text| self.text(text))
            }
            Value::Floats(values) => {
                self.array(6, values.len())?;
                values.iter().try_for_each(|value| self.put(&value.to_le_bytes()))
            }
            Value::Ints(values) => {
                self.array(5, values.len())?;
                values.iter().try_for_each(|value| self.put(&value.to_le_bytes()))
            }
        }
    }
}
