//! stub until merged
use std::fs::File;
use crate::{config::Config, engine::Settings, error::Result, programs::Programs};
pub struct Cache;
pub struct Artifact { pub file: File }
impl Cache {
    pub fn open(_: &Config, _: &Programs) -> Self { Self }
    pub fn get(&self, _: &File, _: &str, _: &Settings) -> Result<Artifact> { panic!() }
    pub fn forget(&self, _: &Artifact) {}
}
