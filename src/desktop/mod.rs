//! The desktop: tray, notifications, start on login, session bus. All of it optional.
