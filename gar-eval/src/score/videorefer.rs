//! VideoRefer-Bench: D's four scores of a judge, Q's letters in five types of questions (VideoRefer, §4).

/// What D's descriptions are scored in, from 0 to 5, under the names that judged files have.
pub const VIDEOREFER_D_ASPECTS: [&str; 4] =
    ["Subject Correspondence", "Appearance Description", "Temporal Description", "Hallucination Detection"];

/// The types of Q's questions.
pub const VIDEOREFER_Q_TYPES: [&str; 5] = [
    "Basic Questions",
    "Sequential Questions",
    "Relationship Questions",
    "Reasoning Questions",
    "Future Predictions",
];
