//! From the kernel's event to our grip on the file.
