//! From a root file system, a kernel and boot files to a flashable card image.

#![forbid(unsafe_code)]
