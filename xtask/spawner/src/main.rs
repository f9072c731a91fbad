//! `spawner PROGRAM MEMORY FDS`: a process of this size, which starts the program as often and in
//! the ways that it is told, and takes the time. It is a process of its own because its memory and
//! its fds are what is varied.
//!
//! It touches MEMORY bytes, has FDS fds open, says `ready` and reads orders, a line each:
//!
//! - `METHOD... ROUNDS`: so many rounds of these ways, each round in another order, as each leaves
//!   the caches to the next as it likes; answers a line for each start, `METHOD RETURN EXIT`, the nanoseconds from the call to its
//!   return and to the child's exit, and in the end `done`
//! - the end of stdin: ends, with status 0
//!
//! `spawner PROGRAM instructions SOCKETS...`: how many instructions a `start_process` takes with so
//! many sockets, a line each, and ends.
//!
//! What it inherits makes no difference to either.
//!
//! What goes wrong is said on stderr, and ends it with status 1.

mod fresh;
mod instructions;
mod load;
mod methods;
mod quiet;
mod steps;

use std::error::Error;
use std::ffi::{CString, OsString};
use std::io::{self, BufRead as _, Write as _};
use std::os::unix::ffi::OsStringExt as _;
use std::process::ExitCode;
use std::{env, fmt};

use load::Load;
use methods::{Method, Spawner};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("spawner: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    fresh::forget_inherited()?;
    let mut arguments = env::args_os().skip(1);
    let program = arguments.next().ok_or("no program")?;
    let program = CString::new(program.into_vec())?;
    let environ = environ()?;
    let environ: Vec<_> = environ.iter().map(CString::as_c_str).collect();
    let spawner = Spawner::new(&program, &environ);
    let mut arguments = arguments.peekable();
    if arguments.next_if(|it| it == "instructions").is_some() {
        for sockets in arguments {
            let sockets = number(Some(sockets))?;
            println!("{}", instructions::count(&spawner, sockets)?);
        }
        return Ok(());
    }
    let (memory, fds) = (number(arguments.next())?, number(arguments.next())?);
    let load = Load::new(memory, fds)?;
    quiet::ask()?;

    let mut answer = io::stdout();
    writeln!(answer, "ready")?;
    let mut random = fastrand::Rng::with_seed(1);
    for order in io::stdin().lock().lines() {
        let order = order?;
        let mut words: Vec<&str> = order.split_whitespace().collect();
        let rounds: usize = words.pop().ok_or("an empty order")?.parse()?;
        let methods = words.iter().map(|word| word.parse());
        let mut methods = methods.collect::<Result<Vec<Method>, _>>()?;
        // Written at the end: nothing but the starts happens in between.
        let mut samples = Vec::new();
        for _ in 0..rounds {
            random.shuffle(&mut methods);
            for method in methods.iter().copied() {
                samples.push((method, spawner.start(method).map_err(in_method(method))?));
            }
        }
        let mut lines = String::new();
        for (method, sample) in samples {
            let (returned, exited) = (sample.returned.as_nanos(), sample.exited.as_nanos());
            lines += &format!("{method} {returned} {exited}\n");
        }
        answer.write_all(lines.as_bytes())?;
        writeln!(answer, "done")?;
    }
    drop(load);
    Ok(())
}

fn number(argument: Option<OsString>) -> Result<usize, Box<dyn Error>> {
    let argument = argument.ok_or("no number")?;
    Ok(argument.to_str().ok_or("no text")?.parse()?)
}

fn in_method<E: fmt::Display>(method: Method) -> impl Fn(E) -> String {
    move |why| format!("{method}: {why}")
}

/// The environment as it is now; nothing here changes it.
fn environ() -> Result<Vec<CString>, Box<dyn Error>> {
    let mut strings = Vec::new();
    for (name, value) in env::vars_os() {
        let mut bytes = name.into_vec();
        bytes.push(b'=');
        bytes.extend(value.into_vec());
        strings.push(CString::new(bytes)?);
    }
    Ok(strings)
}
