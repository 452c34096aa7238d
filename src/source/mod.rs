//! Which folders and names are looked at: temporary files and browser caches.
