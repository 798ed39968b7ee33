package tkd.keywords

import android.annotation.SuppressLint
import android.content.Context
import android.media.AudioFormat
import android.media.AudioRecord
import android.media.MediaRecorder
import java.io.IOException
import java.util.concurrent.atomic.AtomicBoolean
import kotlin.concurrent.thread

/**
 * Listens to the microphone on a thread of its own and calls back with each keyword, on that thread.
 *
 * The app holds RECORD_AUDIO before [start]. After an error [onError] is called once and the thread has ended.
 */
class KeywordListener(
    private val context: Context,
    private val onKeyword: (Detection) -> Unit,
    private val onError: (String) -> Unit
) {
    private var running: AtomicBoolean? = null
    private var worker: Thread? = null

    /** Starts to listen; does nothing while it listens already. */
    @Synchronized
    fun start() {
        if (running?.get() == true) return
        // One flag for each run: a run that was told to end from its own callback must not take up the next one's.
        val mine = AtomicBoolean(true)
        running = mine
        worker = thread(name = "tkd-keywords") { listen(mine) }
    }

    /** Ends listening and waits for the thread, unless it is that thread that calls. */
    fun stop() {
        val ending = synchronized(this) {
            running?.set(false)
            worker
        }
        if (Thread.currentThread() !== ending) ending?.join()
    }

    private fun listen(running: AtomicBoolean) {
        try {
            val failure = KeywordModel(context).use { model -> record(model, running) }
            if (failure != null) onError(failure)
        } catch (refused: IOException) {
            onError("the model cannot be read: ${refused.message}")
        } catch (refused: RuntimeException) {
            onError("listening failed: ${refused.message}")
        } finally {
            running.set(false)
        }
    }

    /** Feeds the model hop by hop; what went wrong, or null when it was stopped. */
    private fun record(model: KeywordModel, running: AtomicBoolean): String? {
        val recorder = recorder() ?: return "no microphone at ${Settings.SAMPLE_RATE_HZ} Hz: is RECORD_AUDIO granted?"
        val detector = Detector()
        var heard = 0L
        val hop = ShortArray(Settings.HOP_SAMPLES)
        try {
            recorder.startRecording()
            while (running.get()) {
                if (!readFully(recorder, hop)) return "the microphone stopped"
                heard += hop.size
                model.hear(hop)?.let { detector.add(it, heard) }?.let(onKeyword)
            }
            return null
        } finally {
            recorder.release()
        }
    }

    /** Fills [hop], which takes as long as it lasts; false where the microphone gives no more. */
    private fun readFully(recorder: AudioRecord, hop: ShortArray): Boolean {
        var read = 0
        while (read < hop.size) {
            val count = recorder.read(hop, read, hop.size - read)
            if (count <= 0) return false
            read += count
        }
        return true
    }

    @SuppressLint("MissingPermission") // start() asks for it
    private fun recorder(): AudioRecord? {
        val mono = AudioFormat.CHANNEL_IN_MONO
        val encoding = AudioFormat.ENCODING_PCM_16BIT
        val least = AudioRecord.getMinBufferSize(Settings.SAMPLE_RATE_HZ, mono, encoding)
        if (least <= 0) return null
        val bytes = maxOf(least, 4 * Settings.HOP_SAMPLES * 2)
        val made = AudioRecord(
            MediaRecorder.AudioSource.VOICE_RECOGNITION, Settings.SAMPLE_RATE_HZ, mono, encoding, bytes
        )
        if (made.state == AudioRecord.STATE_INITIALIZED) return made
        made.release()
        return null
    }
}
