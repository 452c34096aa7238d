//! Videos that came in pieces, put together from the browsers' disk caches.
