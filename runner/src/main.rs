//! Development main: `lighter-runner ARTIFACT GUEST.json`.
mod engine;
mod exit;
mod signals;
mod stdio;
mod sys;
mod wasi;

fn main() {
    let mut args = std::env::args().skip(1);
    let (Some(code), Some(guest)) = (args.next(), args.next()) else {
        std::process::exit(64)
    };
    std::process::exit(run(&code, &guest).into());
}

fn run(code: &str, guest: &str) -> u8 {
    signals::install().expect("handlers");
    let guest = serde_json::from_str(guest).expect("guest");
    let code = std::fs::File::open(code).expect("code");
    match engine::load(&lighter::engine::Settings::default(), &guest, code, None) {
        Ok(loaded) => loaded.run(),
        Err(engine::LoadError::Stale(reason)) => {
            exit::complain(&format!("{reason}\n"));
            99
        }
        Err(engine::LoadError::Refused(refusal)) => {
            exit::complain(&format!("{refusal}\n"));
            98
        }
    }
}
