//! The smallest tray program with the crates that fisga is built on: an icon and a menu with one
//! entry. What fisga's start and memory on the desktop are measured against.

use std::error::Error;

use tao::event_loop::{ControlFlow, EventLoopBuilder};
use tray_icon::{
    Icon, TrayIconBuilder,
    menu::{Menu, MenuEvent, MenuItem},
};

fn main() -> Result<(), Box<dyn Error>> {
    let event_loop = EventLoopBuilder::with_user_event().build();
    let proxy = event_loop.create_proxy();
    MenuEvent::set_event_handler(Some(move |_| {
        let _ = proxy.send_event(());
    }));
    let menu = Menu::new();
    menu.append(&MenuItem::new("Quit", true, None))?;
    let icon = Icon::from_rgba(vec![0x80; 64 * 64 * 4], 64, 64)?;
    let tray = TrayIconBuilder::new()
        .with_menu(Box::new(menu))
        .with_icon(icon)
        .build()?;
    event_loop.run(move |event, _, control| {
        let _shown = &tray;
        *control = match event {
            tao::event::Event::UserEvent(()) => ControlFlow::Exit,
            _ => ControlFlow::Wait,
        };
    })
}
