//! What stands under and apart from a report's tables, from fabricated trials.

use std::fs;

use harness::config::schema::off_engine_remark;
use harness::report::aggregate::groups;
use harness::report::{self, speeds};
use harness::results::{TrialRecord, collect};
use harness::train::Prediction;

use crate::report::{compared, costs, folder, measures, study, trial};

fn speeds(records: &[TrialRecord]) -> String {
    let groups: Vec<_> = groups(records).into_iter().map(|group| ("x".to_owned(), group)).collect();
    speeds::section(&groups).map_or_else(String::new, |section| section.markdown())
}

#[test]
fn speeds_of_training_stand_apart_and_say_that_they_do_not_compare() {
    let mut records = study(&[0, 1]);
    records.retain(|record| ["vanilla", "ghost ratio=2"].contains(&record.trial.label.as_str()));
    records[0].environment.jobs = None;
    for record in records.iter_mut().filter(|record| record.trial.label == "ghost ratio=2") {
        record.environment.off_engine = "a custom operation is part of it".into();
    }
    insta::assert_snapshot!(speeds(&records).trim(), @r"
    ### Speed of training

    **Measured while training, beside whatever else ran: these figures do not compare**, neither with one another nor with other machines'. `harness bench` measures what does.

    | Method | Images/s | Jobs at once | Threads |
    | --- | ---: | ---: | ---: |
    | vanilla | 1159 | 2, – | 2 |
    | ghost ratio=2 | 606 † | 2 | 2 |

    - **† Not on the engine**: ghost trained operation by operation (a custom operation is part of it), many times slower.

    *Jobs at once*: trials that the sweep let run beside one another, this one among them; not known of results that were made before it was written down, or by single tasks of a cluster.
    ");
    let main = compared(&groups(&records)[0]);
    assert!(!main.contains("Images/s") && main.contains("avx512 kernels operation by operation,"), "{main}");

    // A batch that is too small for the engine is one reason for all rows; the remark on each names no layer.
    for record in &mut records {
        record.environment.off_engine.clear();
        record.trial.config.recipe.batch = 4;
        record.network.remarks = record.trial.config.recipe.off_engine().map(off_engine_remark).into_iter().collect();
    }
    let text = speeds(&records);
    let reasons: Vec<&str> = text.lines().filter(|line| line.contains("† Not on the engine")).collect();
    assert!(matches!(reasons[..], [one] if one.contains("vanilla, ghost") && one.contains("4 images")), "{reasons:?}");
    let text = compared(&groups(&records)[0]);
    assert!(text.contains("\n- vanilla: trains operation by operation and not on the engine ("), "{text}");
    costs(&mut records);
    assert_eq!(speeds(&records), "");
}

#[test]
fn captions_say_what_is_fused_and_how_many_images_test() {
    let dir = tempfile::tempdir().unwrap();
    let mut records = vec![trial("vanilla", 0, 40, 4, 0.7), trial("repvgg", 0, 40, 4, 0.7)];
    records.iter_mut().for_each(|record| measures(record).test_images = None);
    assert!(!compared(&groups(&records)[0]).contains("**Fused**"), "there may be nothing to fuse");
    let remark = "trains with 9 parameters and 90 MACs; fused after the last epoch into what is priced and tested";
    records[1].network.remarks = vec![remark.into()];
    let text = compared(&groups(&records)[0]);
    assert!(
        text.contains("- **Fused** after training (repvgg), and counted and tested so: the k x k, the 1 x 1 and"),
        "{text}"
    );
    assert!(text.contains("training set, test read once"), "{text}");
    // An older result has kept its predictions, which know.
    let folder = folder(&dir.path().join("study"), &records);
    let image = Prediction { label: 0, guess: Some(0), rank: Some(0), loss: 0.5 };
    folder.save_predictions(&records[0].trial.key, &[image; 30]).unwrap();
    let written = report::write(&folder).unwrap().written;
    let page = fs::read_to_string(&written[0]).unwrap();
    assert!(page.contains("30 test images read once, after the last epoch"), "{page}");
    let frame = collect(&folder).unwrap();
    assert_eq!(frame.column("reporting").unwrap().str().unwrap().get(0), Some("last epoch"));
    assert_eq!(frame.column("jobs").unwrap().u64().unwrap().get(1), Some(2));
}
