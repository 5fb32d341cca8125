-- q18: Last bid.
SELECT auction, bidder, price, channel, url, date_time, extra
FROM (
    SELECT *, row_number() OVER (PARTITION BY bidder, auction ORDER BY date_time DESC, price DESC, channel, url, extra) AS number
    FROM bid
) AS q
WHERE number <= 1
