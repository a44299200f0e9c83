//! How the checks of fuzz targets take an input apart. Included by those that need it.

/// Two parts: the first two bytes say how long the first one is, little-endian; the rest is the second.
pub fn parts(input: &[u8]) -> (&[u8], &[u8]) {
    let Some((length, rest)) = input.split_first_chunk::<2>() else { return (input, &[]) };
    rest.split_at(usize::from(u16::from_le_bytes(*length)).min(rest.len()))
}
