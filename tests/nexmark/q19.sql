-- q19: Top ten prices of an auction.
SELECT *
FROM (
    SELECT *, row_number() OVER (PARTITION BY auction ORDER BY price DESC, date_time, bidder, channel, url, extra) AS number
    FROM bid
) AS q
WHERE number <= 10
