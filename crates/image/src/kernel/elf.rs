//! As much of 64-bit little-endian ELF as kernel modules need: sections by name, and symbol names.
//!
//! Every offset comes from the file, so every access is checked; a damaged file has no sections.

pub(super) const MAGIC: &[u8] = b"\x7fELF";

const CLASS_64_LITTLE_ENDIAN: [u8; 2] = [2, 1];
const SECTION_HEADER: usize = 64;
const SYMBOL: usize = 24;
const SYMBOL_TABLE: u32 = 2;

pub(super) struct Elf<'a> {
    bytes: &'a [u8],
    sections: Vec<Section<'a>>,
}

struct Section<'a> {
    name: u32,
    kind: u32,
    link: u32,
    data: &'a [u8],
}

impl<'a> Elf<'a> {
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        if !bytes.starts_with(MAGIC) || bytes.get(4..6)? != CLASS_64_LITTLE_ENDIAN {
            return None;
        }
        let offset = usize::try_from(u64_at(bytes, 0x28)?).ok()?;
        let count = usize::from(u16_at(bytes, 0x3c)?);
        let headers = bytes.get(offset..)?.get(..count.checked_mul(SECTION_HEADER)?)?;
        let sections = headers
            .chunks_exact(SECTION_HEADER)
            .map(|header| {
                let start = usize::try_from(u64_at(header, 24)?).ok()?;
                let size = usize::try_from(u64_at(header, 32)?).ok()?;
                // Sections without bytes in the file (.bss) give nothing, not an error.
                let data = bytes.get(start..).and_then(|rest| rest.get(..size)).unwrap_or_default();
                Some(Section {
                    name: u32_at(header, 0)?,
                    kind: u32_at(header, 4)?,
                    link: u32_at(header, 40)?,
                    data,
                })
            })
            .collect::<Option<_>>()?;
        Some(Self { bytes, sections })
    }

    /// The machine as `uname -m` names it.
    pub(super) fn machine(&self) -> Option<&'static str> {
        match u16_at(self.bytes, 0x12)? {
            62 => Some("x86_64"),
            183 => Some("aarch64"),
            _ => None,
        }
    }

    pub(super) fn section(&self, name: &str) -> Option<&'a [u8]> {
        let names = self.sections.get(usize::from(u16_at(self.bytes, 0x3e)?))?.data;
        let section = self.sections.iter().find(|section| string_at(names, section.name) == Some(name))?;
        Some(section.data)
    }

    pub(super) fn symbols(&self) -> impl Iterator<Item = &'a str> {
        let table = self.sections.iter().find(|section| section.kind == SYMBOL_TABLE);
        let names =
            table.and_then(|table| self.sections.get(table.link as usize)).map(|section| section.data);
        let entries = table.map(|table| table.data).unwrap_or_default();
        entries.chunks_exact(SYMBOL).filter_map(move |symbol| string_at(names?, u32_at(symbol, 0)?))
    }
}

fn string_at(table: &[u8], offset: u32) -> Option<&str> {
    let bytes = table.get(offset as usize..)?;
    let end = bytes.iter().position(|&byte| byte == 0)?;
    std::str::from_utf8(&bytes[..end]).ok()
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|chunk| u16::from_le_bytes(*chunk))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|chunk| u64::from_le_bytes(*chunk))
}
