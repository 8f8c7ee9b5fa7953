//! Cells of Arrow columns. Hugging Face `datasets` and its versions choose between a type and its "large" or plain kin;
//! these functions read either.

use arrow_array::cast::AsArray;
use arrow_array::types::{Int32Type, Int64Type, UInt32Type};
use arrow_array::{Array, ArrayRef, StructArray};
use arrow_schema::DataType;

use crate::{Error, Result};

/// A column or field with the name that errors give it.
#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) array: ArrayRef,
}

impl Column {
    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row) || *self.array.data_type() == DataType::Null
    }

    pub(crate) fn is_list(&self) -> bool {
        matches!(self.array.data_type(), DataType::List(_) | DataType::LargeList(_))
    }

    pub(crate) fn is_struct(&self) -> bool {
        matches!(self.array.data_type(), DataType::Struct(_))
    }

    /// A struct's field.
    pub(crate) fn field(&self, name: &str) -> Result<Self> {
        let parent = self.array.as_struct_opt().ok_or_else(|| self.mismatch("a struct"))?;
        field(parent, &self.name, name)
    }

    /// The elements of a list cell, as a column of their own.
    pub(crate) fn list(&self, row: usize) -> Result<Self> {
        self.present(row)?;
        let array = match self.array.data_type() {
            DataType::List(_) => self.array.as_list::<i32>().value(row),
            DataType::LargeList(_) => self.array.as_list::<i64>().value(row),
            _ => return Err(self.mismatch("a list")),
        };
        Ok(Self { name: format!("{}[]", self.name), array })
    }

    /// A text cell.
    pub(crate) fn text(&self, row: usize) -> Result<String> {
        self.present(row)?;
        match self.array.data_type() {
            DataType::Utf8 => Ok(self.array.as_string::<i32>().value(row).to_owned()),
            DataType::LargeUtf8 => Ok(self.array.as_string::<i64>().value(row).to_owned()),
            // pycocotools gives run lengths as bytes.
            DataType::Binary | DataType::LargeBinary => {
                String::from_utf8(self.bytes(row)?).map_err(|_| self.mismatch("text in UTF-8"))
            }
            _ => Err(self.mismatch("text")),
        }
    }

    /// A cell of bytes.
    pub(crate) fn bytes(&self, row: usize) -> Result<Vec<u8>> {
        self.present(row)?;
        match self.array.data_type() {
            DataType::Binary => Ok(self.array.as_binary::<i32>().value(row).to_vec()),
            DataType::LargeBinary => Ok(self.array.as_binary::<i64>().value(row).to_vec()),
            _ => Err(self.mismatch("bytes")),
        }
    }

    /// A cell that holds a whole number from 0.
    pub(crate) fn number(&self, row: usize) -> Result<usize> {
        self.present(row)?;
        let value = match self.array.data_type() {
            DataType::Int64 => self.array.as_primitive::<Int64Type>().value(row),
            DataType::Int32 => self.array.as_primitive::<Int32Type>().value(row).into(),
            DataType::UInt32 => self.array.as_primitive::<UInt32Type>().value(row).into(),
            _ => return Err(self.mismatch("whole numbers of 32 or 64 bits")),
        };
        usize::try_from(value).map_err(|_| Error::ColumnType {
            name: self.name.clone(),
            expected: "a number from 0",
            found: value.to_string(),
        })
    }

    pub(crate) fn mismatch(&self, expected: &'static str) -> Error {
        Error::ColumnType { name: self.name.clone(), expected, found: self.array.data_type().to_string() }
    }

    fn present(&self, row: usize) -> Result<()> {
        if self.is_null(row) { Err(Error::NullValue { name: self.name.clone() }) } else { Ok(()) }
    }
}

/// A field of a struct, or a column of a batch as a struct. `parent` is the struct's name, empty for a batch.
pub(crate) fn field(of: &StructArray, parent: &str, name: &str) -> Result<Column> {
    let full = if parent.is_empty() { name.to_owned() } else { format!("{parent}.{name}") };
    match of.column_by_name(name) {
        Some(array) => Ok(Column { name: full, array: array.clone() }),
        None => {
            let found = of.column_names().into_iter().map(String::from).collect();
            Err(Error::MissingColumn { name: full, found })
        }
    }
}
