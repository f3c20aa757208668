//! The number of instructions that the core needs for each of its tasks. Other load on the machine
//! does not change it, so it is a gate. Each case runs by itself under valgrind;
//! benches/instructions.txt has the last counts.
//!
//! `make instructions` compares, and fails where a case needs over 5 % more. `make instructions
//! WRITE=1` rewrites the file.
//!
//! A crate for this exists (gungraun). Its runner is a second program, which must be installed in
//! the same version with some thirty crates of its own, and its limits are attributes instead of a
//! file that a command rewrites.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    missing_docs,
    reason = "a benchmark prints, runs valgrind, and stops when it must; the core does nothing of the kind"
)]

mod world;

use std::collections::BTreeMap;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;

use bookd_core::appointment::confirmation_code::encode;
use bookd_core::appointment::{Appointment, Assignment, IgnoredRules};
use bookd_core::calendar::Calendar;
use bookd_core::calendar::appointment_type::Limits;
use bookd_core::command::{Booking, Command as Asked, Move, Start};
use bookd_core::decide::decide;
use bookd_core::ids::{AppointmentId, AppointmentKey, CalendarId, Caller};
use bookd_core::slots::multi_calendar::first;
use bookd_core::state::State;
use bookd_core::time::zone::LocalInstants;
use bookd_core::time::{DAY, Instant, LocalDate, Seconds};

use world::{NOW, calendar, count, count_several, hundred_calendars, search, starts};

/// The largest increase over the count in the file, in percent.
const MORE_MAX: f64 = 5.0;
/// The next step after a difference, for the message.
const REWRITE: &str =
    "if that is meant, rewrite the file: make instructions WRITE=1, and say in the commit why";
/// Repetitions in a case whose task takes well under a microsecond.
const REPETITIONS: i64 = 100;
/// Appointments of the calendar that commands are decided on.
const APPOINTMENTS: usize = 2_000;

/// A prepared task; answers whether its result is right.
type Task = Box<dyn FnMut() -> bool>;

/// The name of a task, and the function that prepares it.
type Case = (&'static str, fn() -> Task);

/// The tasks that are counted.
const CASES: [Case; 19] = [
    ("slots_31_days_200_appointments", || slots(31, 200)),
    ("slots_31_days_2000_appointments", || slots(31, 2_000)),
    ("slots_365_days_200_appointments", || slots(365, 200)),
    ("slots_365_days_2000_appointments", || slots(365, 2_000)),
    ("slots_31_days_100_calendars_any", || {
        slots_of_hundred(Assignment::Any)
    }),
    ("slots_31_days_100_calendars_all", || {
        slots_of_hundred(Assignment::All)
    }),
    ("list_a_day", day_listed),
    ("decide_book", || {
        deciding(true, |world| Asked::Book(booking(2, world.free[1])))
    }),
    ("decide_and_apply_book", booked_whole),
    ("decide_refuse", || {
        deciding(false, |world| Asked::Book(booking(2, world.taken)))
    }),
    ("decide_hold", || {
        deciding(true, |world| Asked::Hold {
            booking: booking(2, world.free[1]),
            ttl: ttl(),
        })
    }),
    ("decide_move", || {
        deciding(true, |world| Asked::Reschedule(moved(world)))
    }),
    ("decide_cancel", || {
        deciding(true, |world| cancelled(world.booked.id))
    }),
    ("refuse_100_calendars_any", || {
        refused_of_hundred(Assignment::Any)
    }),
    ("refuse_100_calendars_all", || {
        refused_of_hundred(Assignment::All)
    }),
    ("read_100_dates", dates_read),
    ("show_100_instants", instants_shown),
    ("show_100_codes", codes_shown),
    ("turn_100_instants_to_wall_time_and_back", instants_turned),
];

fn slots(days: i64, appointments: usize) -> Task {
    let calendar = calendar(appointments, Limits::default());
    Box::new(move || count(&search(&calendar, days)) > 0)
}

fn slots_of_hundred(assignment: Assignment) -> Task {
    let calendars = hundred_calendars(200);
    Box::new(move || {
        let searches: Vec<_> = calendars
            .iter()
            .map(|calendar| search(calendar, 31))
            .collect();
        count_several(&searches, assignment) > 0
    })
}

/// The free half of the slots of a day, each with the names of its calendars, as an answer has
/// them.
fn day_listed() -> Task {
    let calendar = calendar(200, Limits::default());
    Box::new(move || {
        let searches = [search(&calendar, 1)];
        let slots = first(&searches, Assignment::All, 100);
        let named: Vec<Vec<String>> = slots
            .iter()
            .map(|slot| {
                slot.calendars
                    .iter()
                    .map(|index| searches[index].calendar.id.as_str().to_owned())
                    .collect()
            })
            .collect();
        black_box(&named).len() == 8
    })
}

/// A state with a calendar full of appointments.
struct FullCalendar {
    state: State,
    /// An appointment that was booked by a command.
    booked: Arc<Appointment>,
    /// The start of a taken slot.
    taken: Instant,
    /// The starts of two slots: the one of `booked` and a free one.
    free: Vec<Instant>,
}

fn full_calendar() -> FullCalendar {
    let calendar = calendar(APPOINTMENTS, Limits::default());
    // There is a free slot between two appointments each; the one in the middle is booked by a
    // command.
    let free: Vec<Instant> = starts(&calendar)
        .into_iter()
        .skip(APPOINTMENTS / 2)
        .take(2)
        .collect();
    let taken = calendar
        .claims
        .iter()
        .nth(APPOINTMENTS / 2)
        .unwrap()
        .start();
    let calendars = [(calendar.id.clone(), Arc::new(calendar))].into();
    let mut state = State {
        calendars,
        next_key: AppointmentKey(1_000_000),
        ..State::default()
    };
    let booked = booked(&mut state, &Asked::Book(booking(1, free[0])));
    FullCalendar {
        state,
        booked,
        taken,
        free,
    }
}

/// Decides a command, and applies its change.
fn booked(state: &mut State, command: &Asked) -> Arc<Appointment> {
    let decision = decide(state, command, NOW).unwrap();
    let change = decision.change(state, NOW, Caller::default()).unwrap();
    state.apply(&change);
    Arc::clone(&decision.outcome.appointments[0])
}

fn deciding(is_granted: bool, command: fn(&FullCalendar) -> Asked) -> Task {
    let world = full_calendar();
    let command = command(&world);
    Box::new(move || black_box(decide(&world.state, &command, NOW)).is_ok() == is_granted)
}

/// A booking as the writer makes it: decided and applied while readers hold the calendar before it.
fn booked_whole() -> Task {
    let world = full_calendar();
    let command = Asked::Book(booking(2, world.free[1]));
    let mut states = [world.state.clone(), world.state.clone()].into_iter();
    Box::new(move || {
        let mut state = states.next().unwrap();
        let appointment = booked(&mut state, &command);
        // The writer does not drop the calendar before the change, because readers hold it.
        std::mem::forget(state);
        appointment.start == world.free[1]
    })
}

fn refused_of_hundred(assignment: Assignment) -> Task {
    let calendars: Vec<Calendar> = hundred_calendars(200);
    let taken = calendars[0].claims.iter().nth(100).unwrap().start();
    let named = calendars.into_iter().enumerate().map(|(number, calendar)| {
        let id = CalendarId::parse(&format!("calendar-{number}")).unwrap();
        (id.clone(), Arc::new(Calendar { id, ..calendar }))
    });
    let state = State {
        calendars: named.collect(),
        next_key: AppointmentKey(1_000_000),
        ..State::default()
    };
    let mut calendars: Vec<CalendarId> = state.calendars.keys().cloned().collect();
    calendars.sort_unstable();
    let command = Asked::Book(Booking {
        calendars,
        assignment,
        ..booking(1, taken)
    });
    Box::new(move || black_box(decide(&state, &command, NOW)).is_err())
}

fn booking(number: u128, start: Instant) -> Booking {
    world::booking(
        AppointmentId(uuid::Uuid::from_u128(number)),
        &CalendarId::parse("ada").unwrap(),
        start,
    )
}

/// The ttl of a hold, in seconds.
fn ttl() -> Seconds {
    Seconds::new(600).unwrap()
}

fn moved(world: &FullCalendar) -> Move {
    Move {
        appointment: world.booked.id,
        start: Some(Start::At(world.free[1])),
        duration: None,
        calendars: Vec::new(),
        assignment: Assignment::All,
        ignored_rules: IgnoredRules::default(),
        etag: None,
    }
}

fn cancelled(appointment: AppointmentId) -> Asked {
    Asked::Cancel {
        appointment,
        reason: "rain".to_owned(),
        etag: None,
    }
}

fn dates_read() -> Task {
    let texts: Vec<String> = (0..REPETITIONS)
        .map(|n| LocalDate::from_days(20_000 + n as i32).to_string())
        .collect();
    Box::new(move || {
        texts
            .iter()
            .all(|text| black_box(text.parse::<LocalDate>()).is_ok())
    })
}

fn instants_shown() -> Task {
    use std::fmt::Write;
    let mut text = String::with_capacity(64);
    Box::new(move || {
        (0..REPETITIONS).all(|n| {
            text.clear();
            write!(text, "{}", NOW.plus(n * DAY)).is_ok() && black_box(&text).len() == 20
        })
    })
}

fn codes_shown() -> Task {
    Box::new(move || {
        (0..REPETITIONS).all(|n| black_box(encode(AppointmentKey(n as u64), 42)).len() == 9)
    })
}

fn instants_turned() -> Task {
    let zone = Arc::clone(&calendar(0, Limits::default()).profile.zone);
    Box::new(move || {
        (0..REPETITIONS).map(|n| NOW.plus(n * DAY)).all(|instant| {
            zone.instants(black_box(zone.wall(instant))) == LocalInstants::One(instant)
        })
    })
}

/// The function in which valgrind counts; it is selected by its name.
#[inline(never)]
fn counted_by_valgrind(task: &mut dyn FnMut() -> bool) -> bool {
    black_box(task())
}

/// Runs one case: once to warm up, once counted.
fn run(name: &str) -> ExitCode {
    let Some((_, prepare)) = CASES.iter().find(|case| case.0 == name) else {
        return ExitCode::FAILURE;
    };
    let mut task = prepare();
    let is_right = task() && counted_by_valgrind(&mut task);
    if is_right {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Counts the instructions of a case in a process of its own.
fn count_instructions(name: &str) -> Result<u64, String> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("instructions");
    std::fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let out = folder.join(name);
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--toggle-collect=*counted_by_valgrind*"]);
    valgrind
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(own)
        .args(["--case", name]);
    let ran = valgrind.output().map_err(|error| error.to_string())?;
    if !ran.status.success() {
        return Err(format!(
            "{name} did not come out as it should:\n{}",
            String::from_utf8_lossy(&ran.stderr)
        ));
    }
    let text =
        std::fs::read_to_string(&out).map_err(|error| format!("{}: {error}", out.display()))?;
    let total = text
        .lines()
        .find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total
        .filter(|count| *count > 0)
        .ok_or_else(|| format!("{}: valgrind counted nothing", out.display()))
}

/// The file of the counts in the repository.
fn file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../benches/instructions.txt")
}

/// The compiler and the host, on which the counts depend besides the code.
fn toolchain() -> String {
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = Command::new(rustc)
        .arg("-vV")
        .output()
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    let version = version.unwrap_or_default();
    let host = version
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap_or_default();
    format!("{}, {host}", version.lines().next().unwrap_or_default())
}

/// The content of the file: the toolchain that it was made with, and the count of each case.
fn kept() -> (String, BTreeMap<String, u64>) {
    let text = std::fs::read_to_string(file()).unwrap_or_default();
    let made_with = text
        .lines()
        .find_map(|line| line.strip_prefix("# made with "))
        .unwrap_or_default()
        .to_owned();
    let cases = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| {
            let (name, count) = line.split_once(' ')?;
            Some((name.to_owned(), count.trim().parse().ok()?))
        });
    (made_with, cases.collect())
}

fn write(toolchain: &str, counted: &[(&str, u64)]) -> std::io::Result<()> {
    let mut text = format!(
        "# The instructions that each case of benches/instructions.rs takes; `make instructions WRITE=1` rewrites this.\n\
         # made with {toolchain}\n"
    );
    for (name, count) in counted {
        text.push_str(&format!("{name} {count}\n"));
    }
    std::fs::write(file(), text)
}

/// Prints each count with its difference to the file; answers the differences that fail.
fn compare(counted: &[(&str, u64)], kept: &BTreeMap<String, u64>) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, count) in counted {
        let Some(before) = kept.get(*name) else {
            println!("{name:<42} {count:>10}        new");
            wrong.push(format!("{name} is not in the file"));
            continue;
        };
        let more = (*count as f64 / *before as f64 - 1.0) * 100.0;
        println!("{name:<42} {count:>10} {more:>+8.2} %");
        if more > MORE_MAX {
            wrong.push(format!(
                "{name} took {before} instructions and takes {count}: {more:.1} % more"
            ));
        } else if more < -MORE_MAX {
            println!(
                "{:<42} less than the file says: make instructions WRITE=1 keeps it so",
                ""
            );
        }
    }
    let is_gone = |name: &&String| !counted.iter().any(|it| it.0 == name.as_str());
    wrong.extend(
        kept.keys()
            .filter(is_gone)
            .map(|name| format!("{name} is in the file and is no case")),
    );
    wrong
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|it| it == "--case") {
        return run(arguments.get(at + 1).map_or("", String::as_str));
    }
    if Command::new("valgrind").arg("--version").output().is_err() {
        println!(
            "instructions are not counted: there is no valgrind; apt-get install valgrind brings it"
        );
        return ExitCode::SUCCESS;
    }
    let counted: Result<Vec<_>, String> = CASES
        .iter()
        .map(|(name, _)| Ok((*name, count_instructions(name)?)))
        .collect();
    let counted = match counted {
        Ok(counted) => counted,
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    };
    let (toolchain, (made_with, kept)) = (toolchain(), kept());
    let wrong = compare(&counted, &kept);
    if arguments.iter().any(|it| it == "--write") {
        write(&toolchain, &counted).unwrap();
        println!("{} is rewritten", file().display());
        return ExitCode::SUCCESS;
    }
    if wrong.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("\n{}\n{REWRITE}", wrong.join("\n"));
    if made_with != toolchain {
        println!("The file was made with {made_with}, this is {toolchain}: shown, not judged.");
        return ExitCode::SUCCESS;
    }
    ExitCode::FAILURE
}
