// Writes the logs of the fixture with Kafka's own client: plain, idempotent, transactional, aborted, and left open.
//
//   java -cp 'libs/*' Record.java 127.0.0.1:PORT
//
// Two topics of one partition: `clean`, whose broker will be stopped in order, and `killed`, whose broker will be killed.
// Segments roll by time, so that each has several, and one of them holds only a marker.

import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;

public class Record {
    static String servers;

    public static void main(String[] args) throws Exception {
        servers = args[0];
        Properties admin = new Properties();
        admin.put("bootstrap.servers", servers);
        Map<String, String> config = Map.of("segment.ms", "1500", "index.interval.bytes", "300", "segment.index.bytes", "1024",
            "message.timestamp.type", "CreateTime", "retention.ms", "-1");
        try (Admin a = Admin.create(admin)) {
            a.createTopics(List.of(new NewTopic("clean", 1, (short) 1).configs(config),
                new NewTopic("killed", 1, (short) 1).configs(config))).all().get();
            // Its coordinator's log is made before the segments' clocks run.
        }
        for (String topic : List.of("clean", "killed")) {
            write(topic);
        }
        System.out.println("written");
        // The open transactions stay open: nothing is closed in order here.
        Runtime.getRuntime().halt(0);
    }

    static KafkaProducer<byte[], byte[]> producer(Map<String, Object> more) {
        Properties p = new Properties();
        p.put("bootstrap.servers", servers);
        p.put("key.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        p.put("value.serializer", "org.apache.kafka.common.serialization.ByteArraySerializer");
        p.put("linger.ms", "0");
        p.put("max.in.flight.requests.per.connection", "1");
        p.putAll(more);
        return new KafkaProducer<>(p);
    }

    static void send(KafkaProducer<byte[], byte[]> producer, String topic, String kind, int from, int count) throws Exception {
        for (int n = from; n < from + count; n++) {
            long timestamp = 1_700_000_000_000L + n * 10L;
            producer.send(new ProducerRecord<>(topic, 0, timestamp, ("k" + n).getBytes(), (kind + "-" + n).getBytes())).get();
        }
    }

    static void write(String topic) throws Exception {
        KafkaProducer<byte[], byte[]> plain = producer(Map.of("enable.idempotence", "false", "acks", "1"));
        KafkaProducer<byte[], byte[]> idempotent = producer(Map.of("enable.idempotence", "true", "acks", "all"));
        KafkaProducer<byte[], byte[]> one = producer(Map.of("transactional.id", topic + "-one"));
        KafkaProducer<byte[], byte[]> two = producer(Map.of("transactional.id", topic + "-two", "compression.type", "lz4"));
        one.initTransactions();
        two.initTransactions();
        send(plain, topic, "plain", 0, 40);
        send(idempotent, topic, "idempotent", 40, 8);
        one.beginTransaction();
        two.beginTransaction();
        send(one, topic, "committed", 48, 6);
        send(two, topic, "aborted", 54, 6);
        one.commitTransaction();
        send(plain, topic, "plain", 60, 2);
        roll(plain, topic, 62);
        two.abortTransaction();
        one.beginTransaction();
        send(one, topic, "aborted", 70, 5);
        one.abortTransaction();
        roll(plain, topic, 80);
        send(idempotent, topic, "idempotent", 90, 3);
        two.beginTransaction();
        send(two, topic, "open", 100, 4);
        send(plain, topic, "plain", 110, 30);
    }

    /// Kafka counts the age of a segment in its records' own time: a record from the future begins a new segment.
    static long future = 0;

    static void roll(KafkaProducer<byte[], byte[]> plain, String topic, int n) throws Exception {
        future += 3000;
        long timestamp = 1_700_000_000_000L + future + n * 10L;
        plain.send(new ProducerRecord<>(topic, 0, timestamp, null, ("roll-" + n).getBytes())).get();
    }
}
