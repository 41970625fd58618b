#[path = "../tests/support/mod.rs"]
mod support;
use routerwise_plan::problem::Problem;
fn main() {
    for (m, g, rate, target) in [
        (3, 4, 50.0, 0.2),
        (3, 4, 20.0, 0.2),
        (4, 8, 50.0, 0.2),
        (4, 8, 20.0, 0.3),
        (4, 8, 90.0, 0.15),
        (4, 4, 20.0, 0.2),
    ] {
        let s = support::paper(m, g, rate, target, 36_000);
        let t0 = std::time::Instant::now();
        let p = Problem::new(&s).unwrap();
        let t1 = std::time::Instant::now();
        let plan = routerwise_plan::solve(&s, &p, None);
        let t2 = std::time::Instant::now();
        println!("{m}/{g} rate {rate} build {:?} solve {:?}", t1 - t0, t2 - t1);
        match plan {
            None => println!("  infeasible"),
            Some(plan) => {
                let c = &plan.certificate;
                println!(
                    "  q {} ub {} gap {:.2e} bounded {} packed {} solved {} evals {}",
                    c.quality, c.upper_bound, c.gap, c.setups_bounded, c.setups_packed, c.setups_solved, c.evaluations
                );
                for m in &plan.models {
                    println!(
                        "   {} {:?} price {:.4} w {:.4} util {}",
                        m.name,
                        m.configuration.map(|c| c.to_string()),
                        m.price.value(),
                        m.fraction.value(),
                        m.utilisation
                    );
                }
                println!("   slo {:?}", plan.prediction.slo_values);
            }
        }
    }
}
