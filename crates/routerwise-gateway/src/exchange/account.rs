//! The account of an exchange: metrics, and a line in the decision log.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use routerwise_types::decisions::{DECISION_SCHEMA, DecisionRecord, FailedTry, HedgeRecord};

use super::{End, Exchange, Hedged};
use crate::metrics::{AttemptLabels, CauseLabels, GenAi, HedgeLabels, KeyLabels, RequestLabels, TokenLabels};

const PROVIDER: &str = "routerwise";

impl Hedged {
    /// As receipts, metrics and logs write it.
    pub(crate) fn outcome(&self) -> &'static str {
        match self.won {
            Some(true) => "won",
            Some(false) => "lost",
            None => "unanswered",
        }
    }
}

impl Exchange {
    fn replica_name(&self, model: usize, replica: usize) -> Arc<str> {
        let upstream = self.force.replicas.get(model, replica);
        upstream.map_or("?".into(), |upstream| upstream.name().into())
    }

    pub(super) fn count_attempt(&self, model: usize, replica: usize, outcome: &'static str) {
        let labels = AttemptLabels {
            model: Arc::clone(&self.force.names[model]),
            replica: self.replica_name(model, replica),
            outcome,
        };
        self.gateway.metrics.attempts.get_or_create(&labels).inc();
    }

    pub(super) fn count(&self, end: &End, output: Option<u64>) {
        let metrics = &self.gateway.metrics;
        let asked = self.facts.asked.clone().unwrap_or_default();
        let labels = RequestLabels {
            endpoint: self.endpoint.name(),
            asked: Arc::clone(&asked),
            status: end.status,
        };
        metrics.requests.get_or_create(&labels).inc();
        if let Some(cause) = end.cause {
            metrics
                .failures
                .get_or_create(&CauseLabels { cause: cause.name() })
                .inc();
        }
        if let Some(hedge) = &self.hedge {
            let labels = HedgeLabels {
                why: hedge.hedge.why.name(),
                outcome: hedge.outcome(),
            };
            metrics.hedges.get_or_create(&labels).inc();
        }
        let usage = end.seen.map(|seen| seen.usage).unwrap_or_default();
        let input = usage.prompt_tokens.unwrap_or(self.facts.input_tokens);
        if let Some(holder) = &self.key {
            let labels = KeyLabels {
                key: holder.key.name.clone(),
            };
            metrics.key_requests.get_or_create(&labels).inc();
            if let Some(output) = output {
                metrics.key_tokens.get_or_create(&labels).inc_by(input + output);
            }
        }
        let (Some(current), None) = (self.current, end.cause) else {
            return;
        };
        let model = current.send.ticket.model;
        let labels = GenAi {
            gen_ai_operation_name: self.endpoint.operation(),
            gen_ai_provider_name: PROVIDER,
            gen_ai_request_model: asked,
            gen_ai_response_model: Arc::clone(&self.force.names[model]),
        };
        let duration = self.started.elapsed();
        metrics.duration.get_or_create(&labels).observe(duration.as_secs_f64());
        self.count_tokens(&labels, usage.prompt_tokens, output);
        let Some(first) = self.first_byte.filter(|_| self.facts.stream) else {
            return;
        };
        let ttft = first.saturating_duration_since(self.started);
        metrics.ttft.get_or_create(&labels).observe(ttft.as_secs_f64());
        if let Some(output) = output.filter(|output| *output > 1) {
            let rest = first.elapsed().as_secs_f64();
            #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
            let per_token = rest / (output - 1) as f64;
            metrics.tpot.get_or_create(&labels).observe(per_token);
        }
        self.judge(model, ttft);
    }

    #[expect(clippy::cast_precision_loss, reason = "token counts are far below 2^53")]
    fn count_tokens(&self, labels: &GenAi, input: Option<u64>, output: Option<u64>) {
        for (kind, count) in [("input", input), ("output", output)] {
            let Some(count) = count else { continue };
            let labels = TokenLabels {
                gen_ai_operation_name: labels.gen_ai_operation_name,
                gen_ai_provider_name: labels.gen_ai_provider_name,
                gen_ai_request_model: Arc::clone(&labels.gen_ai_request_model),
                gen_ai_response_model: Arc::clone(&labels.gen_ai_response_model),
                gen_ai_token_type: kind,
            };
            self.gateway.metrics.tokens.get_or_create(&labels).observe(count as f64);
        }
    }

    /// Prediction and objective against what was measured.
    fn judge(&self, model: usize, ttft: Duration) {
        let measured = ttft.as_secs_f64();
        if let Some(predicted) = self.current.and_then(|current| current.send.ttft) {
            let meters = &self.force.models[model];
            meters.ttft_predicted.inc_by(predicted.value());
            meters.ttft_realised.inc_by(measured);
        }
        let meters = &self.force.routes[self.facts.route].models[model];
        let target = self
            .facts
            .ttft_target
            .or_else(|| self.force.ttft_target(self.facts.route));
        match target {
            Some(target) if measured <= target => meters.met.inc(),
            Some(_) => meters.missed.inc(),
            None => return,
        };
    }

    pub(super) fn log(&mut self, end: &End, output: Option<u64>) {
        let Some(log) = self.force.log.clone() else { return };
        let model_name = |model: usize| self.force.names[model].to_string();
        let send = self.current.map(|current| (current.send, current.reason));
        let models = self.force.names.iter().map(ToString::to_string);
        let usage = end.seen.map(|seen| seen.usage).unwrap_or_default();
        let record = DecisionRecord {
            schema: DECISION_SCHEMA,
            at: self
                .at
                .duration_since(UNIX_EPOCH)
                .unwrap_or(Duration::ZERO)
                .as_secs_f64(),
            id: self.id.to_str().unwrap_or_default().to_owned(),
            endpoint: self.endpoint.name().to_owned(),
            asked: self.facts.asked.as_ref().map(ToString::to_string),
            routed: self.facts.routed,
            key: self.key.as_ref().map(|holder| holder.key.name.clone()),
            plan: self.force.plan_name.clone(),
            prompt_hash: self.facts.prompt_hash.map(|hash| format!("{hash:016x}")),
            prompt: self.facts.prompt.take(),
            scores: models.zip(self.facts.scores.iter().copied()).collect(),
            model: send.map(|(send, _)| model_name(send.ticket.model)),
            replica: send.map(|(send, _)| self.replica_name(send.ticket.model, send.ticket.replica).to_string()),
            reason: send.map(|(_, reason)| reason.to_owned()),
            // A model that is all but gone costs more than JSON can say.
            price: send.map(|(send, _)| send.price).filter(|price| price.is_finite()),
            margin: send
                .and_then(|(send, _)| send.margin)
                .filter(|margin| margin.is_finite()),
            failed_tries: self
                .failed
                .iter()
                .map(|failed| FailedTry {
                    model: model_name(failed.model),
                    replica: self.replica_name(failed.model, failed.replica).to_string(),
                    cause: failed.cause.name().to_owned(),
                })
                .collect(),
            hedge: self.hedge.map(|hedge| HedgeRecord {
                model: model_name(hedge.send.ticket.model),
                replica: self
                    .replica_name(hedge.send.ticket.model, hedge.send.ticket.replica)
                    .to_string(),
                why: hedge.hedge.why.name().to_owned(),
                after: hedge.hedge.after.value(),
                outcome: hedge.outcome().to_owned(),
            }),
            status: end.status,
            cause: end.cause.map(|cause| cause.name().to_owned()),
            stream: self.facts.stream,
            prompt_tokens: usage.prompt_tokens.unwrap_or(self.facts.input_tokens),
            output_tokens: output,
            first_byte: self.ttft().map(|seconds| seconds.value()),
            duration: self.started.elapsed().as_secs_f64(),
        };
        log.write(record);
    }
}
