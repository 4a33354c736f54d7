-- A report by key over a month would read a row for each key and day: settled days are summed up by weeks, too, from Monday
-- on. The sums of a week are those of its settled days, so that they are whole once the last one is settled.

CREATE TABLE settled_weeks_by_key (
    week date NOT NULL,
    api_key_id uuid NOT NULL,
    total_requests bigint NOT NULL,
    unpriced_requests bigint NOT NULL,
    client_errors bigint NOT NULL,
    server_errors bigint NOT NULL,
    total_prompt_tokens bigint NOT NULL,
    total_completion_tokens bigint NOT NULL,
    total_tokens bigint NOT NULL,
    total_cached_tokens bigint NOT NULL,
    total_cost_usd numeric(38, 12) NOT NULL,
    last_request_at timestamptz,
    PRIMARY KEY (week, api_key_id)
);

INSERT INTO settled_weeks_by_key
SELECT
    date_trunc('week', day::timestamp)::date, api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors),
    sum(server_errors), sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens),
    sum(total_cached_tokens), sum(total_cost_usd), max(last_request_at)
FROM settled_usage_by_key
GROUP BY 1, 2;

-- Sums up the next day; gives it, or NULL where there is none. Nobody writes summaries meanwhile, so that each change is
-- either summed up here or finds the day settled. Who cannot have that at once leaves it for later.
CREATE OR REPLACE FUNCTION usage_settle_next_day() RETURNS date LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
DECLARE
    settling date;
BEGIN
    LOCK TABLE daily_usage_summaries IN SHARE ROW EXCLUSIVE MODE;
    settling := usage_next_unsettled_day();
    IF settling IS NULL THEN
        RETURN NULL;
    END IF;
    DELETE FROM settled_usage_by_key WHERE day = settling;
    DELETE FROM settled_usage_by_route WHERE day = settling;
    DELETE FROM usage_unsettled_days WHERE day = settling;
    INSERT INTO settled_usage_by_key
    SELECT
        day, api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(total_cost_usd), max(last_request_at)
    FROM daily_usage WHERE day = settling GROUP BY day, api_key_id;
    INSERT INTO settled_usage_by_route
    SELECT
        day, route_id, status_class, sum(total_requests), sum(unpriced_requests), sum(client_errors), sum(server_errors),
        sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens), sum(total_cached_tokens),
        sum(total_cost_usd), max(last_request_at)
    FROM daily_usage WHERE day = settling GROUP BY day, route_id, status_class;
    DELETE FROM settled_weeks_by_key WHERE week = date_trunc('week', settling::timestamp)::date;
    INSERT INTO settled_weeks_by_key
    SELECT
        date_trunc('week', settling::timestamp)::date, api_key_id, sum(total_requests), sum(unpriced_requests), sum(client_errors),
        sum(server_errors), sum(total_prompt_tokens), sum(total_completion_tokens), sum(total_tokens),
        sum(total_cached_tokens), sum(total_cost_usd), max(last_request_at)
    FROM settled_usage_by_key
    WHERE day >= date_trunc('week', settling::timestamp)::date AND day < date_trunc('week', settling::timestamp)::date + 7
    GROUP BY api_key_id;
    INSERT INTO usage_settlement AS s (settled_before) VALUES (settling + 1)
    ON CONFLICT (id) DO UPDATE SET settled_before = greatest(s.settled_before, excluded.settled_before);
    RETURN settling;
END
$$;
