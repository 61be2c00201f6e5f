//! The people of the town: names, addresses and the record numbers of all patients, each a function of the seed and an index.
//!
//! No patient is kept in memory; whoever needs a name or an address asks again and gets the same answer.

use super::dice::{mix, mix_unit};

/// Given names.
pub const GIVEN: [&str; 40] = [
    "Ada", "Alan", "Amina", "Anders", "Beatriz", "Boris", "Carla", "Chen", "Dalia", "David", "Elena", "Emil", "Fatima",
    "Felix", "Grace", "Hugo", "Ines", "Ivan", "Jana", "Jorge", "Kai", "Lara", "Leon", "Maria", "Marek", "Nadia",
    "Noah", "Olga", "Omar", "Paula", "Quinn", "Rosa", "Samir", "Sofia", "Tomas", "Uma", "Victor", "Wanda", "Yusuf",
    "Zoe",
];

const STEMS: [&str; 24] = [
    "Ander", "Bar", "Carl", "Dal", "Eng", "Fer", "Gal", "Hart", "Iver", "Jans", "Kell", "Lind", "Mor", "Nor", "Ols",
    "Pet", "Quist", "Ros", "Sand", "Thor", "Ulv", "Vas", "West", "Zim",
];
const ENDINGS: [&str; 14] =
    ["son", "berg", "man", "ez", "ova", "ton", "field", "er", "sen", "ini", "ley", "wood", "ski", "ard"];

/// The patients of the town, by index.
#[derive(Clone, Copy, Debug)]
pub struct Town {
    seed: u64,
    count: u32,
    days: u32,
}

impl Town {
    /// A town around a hospital with so many accounts.
    pub fn new(seed: u64, users: usize, days: u32) -> Town {
        let count = 1_500 + users * 110 + users * days as usize / 8;
        Town { seed, count: u32::try_from(count).unwrap_or(u32::MAX), days }
    }

    /// How many patients there are.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// The record number.
    pub fn id(&self, patient: u32) -> String {
        format!("MRN{:07}", 1_000_000 + u64::from(patient) * 3 + mix(self.seed, &[1, u64::from(patient)]) % 3)
    }

    /// The family name; some are common and most are rare.
    pub fn surname(&self, patient: u32) -> String {
        surname(self.seed, &[2, u64::from(self.household(patient))])
    }

    /// The key of the home address, shared by a household.
    pub fn address(&self, patient: u32) -> String {
        format!("A{:06}", self.household(patient))
    }

    /// Whether the person is known to the public.
    pub fn is_vip(&self, patient: u32) -> bool {
        mix_unit(self.seed, &[3, u64::from(patient)]) < 0.001
    }

    /// Whether the chart is restricted.
    pub fn is_restricted(&self, patient: u32) -> bool {
        mix_unit(self.seed, &[4, u64::from(patient)]) < 0.01
    }

    /// The second record number of somebody who was registered twice; it lives on as [`Town::id`].
    pub fn twin(&self, patient: u32) -> Option<String> {
        (mix_unit(self.seed, &[73, u64::from(patient)]) < 0.002).then(|| format!("MRN{:07}", 8_000_000 + patient))
    }

    /// The day of the patient's death, counted from the start of the run, where it lies in its past or within it.
    pub fn death(&self, patient: u32) -> Option<i32> {
        let draw = mix_unit(self.seed, &[6, u64::from(patient)]);
        let chance = 0.006;
        (draw < chance).then(|| (draw / chance * f64::from(200 + self.days)) as i32 - 200)
    }

    /// Whether the patient is dead on that day.
    pub fn is_dead(&self, patient: u32, day: i32) -> bool {
        self.death(patient).is_some_and(|death| death <= day)
    }

    /// Somebody of the same household, where there is one.
    pub fn relative(&self, patient: u32) -> Option<u32> {
        let first = self.household(patient);
        (first..first.saturating_add(4)).find(|p| *p < self.count && *p != patient && self.household(*p) == first)
    }

    /// The index of the first member of the household; households have one to four members with neighbouring indices.
    fn household(&self, patient: u32) -> u32 {
        let first = patient / 4 * 4;
        if mix_unit(self.seed, &[5, u64::from(first)]) < 0.5 { first } else { patient }
    }
}

/// A family name from a hash: the square of a uniform number makes some names common.
pub fn surname(seed: u64, keys: &[u64]) -> String {
    let draw = mix_unit(seed, keys);
    let index = (draw * draw * (STEMS.len() * ENDINGS.len()) as f64) as usize;
    format!("{}{}", STEMS[index % STEMS.len()], ENDINGS[index / STEMS.len() % ENDINGS.len()])
}
