-- q7: Highest bid.
SELECT b.auction, b.price, b.bidder, b.date_time, b.extra
FROM bid AS b
JOIN (
    SELECT max(price) AS most, window_start, window_end
    FROM TUMBLE(bid, date_time, INTERVAL '10 seconds')
    GROUP BY window_start, window_end
) AS top
ON b.price = top.most AND b.date_time >= top.window_start AND b.date_time < top.window_end
