-- A report by key over a month would read a row for each key and day: settled days are summed up by weeks, too, from Monday
-- on. The sums of a week are those of its settled days, so that they are whole once the last one is settled.

CREATE TABLE settled_weeks_by_key (
    week TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    total_requests INTEGER NOT NULL,
    unpriced_requests INTEGER NOT NULL,
    client_errors INTEGER NOT NULL,
    server_errors INTEGER NOT NULL,
    total_prompt_tokens INTEGER NOT NULL,
    total_completion_tokens INTEGER NOT NULL,
    total_tokens INTEGER NOT NULL,
    total_cached_tokens INTEGER NOT NULL,
    cost_microusd INTEGER NOT NULL,
    cost_rest_picousd INTEGER NOT NULL,
    last_request_at TEXT,
    PRIMARY KEY (week, api_key_id)
) STRICT, WITHOUT ROWID;

INSERT INTO settled_weeks_by_key
SELECT
    date(day, 'weekday 0', '-6 days'), api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors),
    sum(server_errors), sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens),
    sum(total_cached_tokens), sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
FROM settled_usage_by_key
GROUP BY 1, 2;

DROP TRIGGER usage_settlements_insert;

-- As before, and the week of the day.
CREATE TRIGGER usage_settlements_insert INSTEAD OF INSERT ON usage_settlements
BEGIN
    DELETE FROM settled_usage_by_key WHERE day = new.day;
    DELETE FROM settled_usage_by_route WHERE day = new.day;
    DELETE FROM usage_unsettled_days WHERE day = new.day;
    INSERT INTO settled_usage_by_key
    SELECT
        day, api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
    FROM daily_usage WHERE day = new.day GROUP BY day, api_key_id;
    INSERT INTO settled_usage_by_route
    SELECT
        day, route_id, status_class, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
    FROM daily_usage WHERE day = new.day GROUP BY day, route_id, status_class;
    DELETE FROM settled_weeks_by_key WHERE week = date(new.day, 'weekday 0', '-6 days');
    INSERT INTO settled_weeks_by_key
    SELECT
        date(new.day, 'weekday 0', '-6 days'), api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors),
        sum(server_errors), sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens),
        sum(total_cached_tokens), sum(cost_microusd), sum(cost_rest_picousd), max(last_request_at)
    FROM settled_usage_by_key
    WHERE day >= date(new.day, 'weekday 0', '-6 days') AND day <= date(new.day, 'weekday 0')
    GROUP BY api_key_id;
    INSERT INTO usage_settlement (id, settled_before) VALUES (1, date(new.day, '+1 day'))
    ON CONFLICT (id) DO UPDATE SET settled_before = max(settled_before, excluded.settled_before);
END;
