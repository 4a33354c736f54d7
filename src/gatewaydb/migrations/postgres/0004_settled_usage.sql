-- Reports over many days: once a day is over, its summaries are summed up further, by key and by route. A report reads those
-- sums, and the daily summaries themselves only of days that have none yet or were changed since.

CREATE TABLE settled_usage_by_key (
    day date NOT NULL,
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
    PRIMARY KEY (day, api_key_id)
);

CREATE TABLE settled_usage_by_route (
    day date NOT NULL,
    route_id bigint NOT NULL,
    status_class smallint NOT NULL,
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
    PRIMARY KEY (day, route_id, status_class)
);

-- All days before this one are settled, but for those that were changed since. One row, or none.
CREATE TABLE usage_settlement (
    id smallint NOT NULL PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    settled_before date NOT NULL
);

-- No unique key: two writers of one day must not wait for each other here.
CREATE TABLE usage_unsettled_days (
    day date NOT NULL
);

-- Whoever changes a day that may be settled, says so: one that is over. Who reads an older state of the database cannot
-- tell whether somebody else has said it already.
CREATE FUNCTION daily_usage_summaries_unsettle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO usage_unsettled_days (day)
    SELECT day FROM (SELECT DISTINCT day FROM changed) AS c
    WHERE day < (clock_timestamp() AT TIME ZONE 'UTC')::date
    AND (
        current_setting('transaction_isolation') <> 'read committed'
        OR NOT EXISTS (SELECT FROM usage_unsettled_days AS u WHERE u.day = c.day)
    );
    RETURN NULL;
END
$$;

CREATE TRIGGER daily_usage_summaries_unsettle_inserted AFTER INSERT ON daily_usage_summaries
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION daily_usage_summaries_unsettle();

CREATE TRIGGER daily_usage_summaries_unsettle_updated AFTER UPDATE ON daily_usage_summaries
REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION daily_usage_summaries_unsettle();

CREATE TRIGGER daily_usage_summaries_unsettle_deleted AFTER DELETE ON daily_usage_summaries
REFERENCING OLD TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION daily_usage_summaries_unsettle();

-- What a key used of a route on a day, with the errors counted apart.
CREATE VIEW daily_usage AS
SELECT
    day, api_key_id, route_id, status_class, total_requests, unpriced_requests,
    CASE WHEN status_class = 4 THEN total_requests ELSE 0 END AS client_errors,
    CASE WHEN status_class = 5 THEN total_requests ELSE 0 END AS server_errors,
    total_prompt_tokens, total_completion_tokens, total_tokens, total_cached_tokens, total_cost_usd, last_request_at
FROM daily_usage_summaries;

-- The first day that is over and not settled, or was changed since. Two hours spare a clock that is set back.
CREATE FUNCTION usage_next_unsettled_day() RETURNS date LANGUAGE sql STABLE AS $$
    SELECT min(day)
    FROM (
        SELECT min(day) AS day FROM usage_unsettled_days
        UNION ALL
        SELECT min(day) FROM daily_usage_summaries
        WHERE day >= coalesce((SELECT settled_before FROM usage_settlement), '-infinity'::date)
    ) AS first_days
    WHERE day < ((clock_timestamp() - interval '2 hours') AT TIME ZONE 'UTC')::date
$$;

-- Sums up the next day; gives it, or NULL where there is none. Nobody writes summaries meanwhile, so that each change is
-- either summed up here or finds the day settled. Who cannot have that at once leaves it for later.
CREATE FUNCTION usage_settle_next_day() RETURNS date LANGUAGE plpgsql SET lock_timeout = '200ms' AS $$
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
    INSERT INTO usage_settlement AS s (settled_before) VALUES (settling + 1)
    ON CONFLICT (id) DO UPDATE SET settled_before = greatest(s.settled_before, excluded.settled_before);
    RETURN settling;
END
$$;
